//! Names of DNP3's functions (Zeek's `base/protocols/dnp3/consts.zeek`).

use std::borrow::Cow;

/// Names of the functions of requests, by number.
const REQUESTS: &[&str] = &[
    "CONFIRM",
    "READ",
    "WRITE",
    "SELECT",
    "OPERATE",
    "DIRECT_OPERATE",
    "DIRECT_OPERATE_NR",
    "IMMED_FREEZE",
    "IMMED_FREEZE_NR",
    "FREEZE_CLEAR",
    "FREEZE_CLEAR_NR",
    "FREEZE_AT_TIME",
    "FREEZE_AT_TIME_NR",
    "COLD_RESTART",
    "WARM_RESTART",
    "INITIALIZE_DATA",
    "INITIALIZE_APPL",
    "START_APPL",
    "STOP_APPL",
    "SAVE_CONFIG",
    "ENABLE_UNSOLICITED",
    "DISABLE_UNSOLICITED",
    "ASSIGN_CLASS",
    "DELAY_MEASURE",
    "RECORD_CURRENT_TIME",
    "OPEN_FILE",
    "CLOSE_FILE",
    "DELETE_FILE",
    "GET_FILE_INFO",
    "AUTHENTICATE_FILE",
    "ABORT_FILE",
    "ACTIVATE_CONFIG",
    "AUTHENTICATE_REQ",
    "AUTHENTICATE_REQ_NR",
];

/// Name of a function.
pub fn function_name(function: u8) -> Cow<'static, str> {
    match (function, REQUESTS.get(usize::from(function))) {
        (_, Some(name)) => (*name).into(),
        (0x81, _) => "RESPONSE".into(),
        (0x82, _) => "UNSOLICITED_RESPONSE".into(),
        (0x83, _) => "AUTHENTICATE_RESP".into(),
        _ => format!("unknown-{function}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_responses_and_unknown_ones() {
        assert_eq!(function_name(0x15), "DISABLE_UNSOLICITED");
        assert_eq!(function_name(0x81), "RESPONSE");
        assert_eq!(function_name(0x84), "unknown-132");
    }
}
