//! Certificates made with openssl; expectations are what OpenSSL prints of them.

use super::*;
