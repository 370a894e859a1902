//! Joining as a whole.
