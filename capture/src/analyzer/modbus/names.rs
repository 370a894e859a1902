//! Names of Modbus' functions and exceptions (Zeek's `base/protocols/modbus/consts.zeek`).

use std::borrow::Cow;

use super::EXCEPTION;

/// Name of a function, or of one that failed.
pub fn function_name(function: u8) -> Cow<'static, str> {
    if let Some(name) = known_function(function) {
        return name.into();
    }
    match known_function(function & !EXCEPTION) {
        Some(name) => format!("{name}_EXCEPTION").into(),
        None => format!("unknown-{function}").into(),
    }
}

fn known_function(function: u8) -> Option<&'static str> {
    Some(match function {
        0x01 => "READ_COILS",
        0x02 => "READ_DISCRETE_INPUTS",
        0x03 => "READ_HOLDING_REGISTERS",
        0x04 => "READ_INPUT_REGISTERS",
        0x05 => "WRITE_SINGLE_COIL",
        0x06 => "WRITE_SINGLE_REGISTER",
        0x07 => "READ_EXCEPTION_STATUS",
        0x08 => "DIAGNOSTICS",
        0x09 => "PROGRAM_484",
        0x0a => "POLL_484",
        0x0b => "GET_COMM_EVENT_COUNTER",
        0x0c => "GET_COMM_EVENT_LOG",
        0x0d => "PROGRAM_584_984",
        0x0e => "POLL_584_984",
        0x0f => "WRITE_MULTIPLE_COILS",
        0x10 => "WRITE_MULTIPLE_REGISTERS",
        0x11 => "REPORT_SLAVE_ID",
        0x12 => "PROGRAM_884_U84",
        0x13 => "RESET_COMM_LINK_884_U84",
        0x14 => "READ_FILE_RECORD",
        0x15 => "WRITE_FILE_RECORD",
        0x16 => "MASK_WRITE_REGISTER",
        0x17 => "READ_WRITE_MULTIPLE_REGISTERS",
        0x18 => "READ_FIFO_QUEUE",
        0x28 => "PROGRAM_CONCEPT",
        0x29 => "MULTIPLE_FUNCTION_CODES",
        0x2b => "ENCAP_INTERFACE_TRANSPORT",
        0x5a => "PROGRAM_UNITY",
        0x5b => "OBJECT_MESSAGING",
        0x7d => "FIRMWARE_REPLACEMENT",
        0x7e => "PROGRAM_584_984_2",
        0x7f => "REPORT_LOCAL_ADDRESS",
        _ => return None,
    })
}

/// Name of what went wrong.
pub fn exception_name(code: u8) -> Cow<'static, str> {
    match code {
        1 => "ILLEGAL_FUNCTION",
        2 => "ILLEGAL_DATA_ADDRESS",
        3 => "ILLEGAL_DATA_VALUE",
        4 => "SLAVE_DEVICE_FAILURE",
        5 => "ACKNOWLEDGE",
        6 => "SLAVE_DEVICE_BUSY",
        8 => "MEMORY_PARITY_ERROR",
        10 => "GATEWAY_PATH_UNAVAILABLE",
        11 => "GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND",
        _ => return format!("unknown-{code}").into(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_exceptions_by_name() {
        assert_eq!(function_name(0x03), "READ_HOLDING_REGISTERS");
        assert_eq!(function_name(0x83), "READ_HOLDING_REGISTERS_EXCEPTION");
        assert_eq!(function_name(0xe4), "unknown-228");
        assert_eq!(exception_name(2), "ILLEGAL_DATA_ADDRESS");
        assert_eq!(exception_name(7), "unknown-7");
    }
}
