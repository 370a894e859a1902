//! A bare libpcap pass over a capture file: the floor that the pipeline's rate is held against.
//!
//!     cargo bench -p weir-capture --bench libpcap_pass -- FILE

#![allow(clippy::print_stdout, reason = "a bench prints")]

fn main() {
    let Some(path) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
        println!("libpcap_pass: no FILE given, nothing measured");
        return;
    };
    let began = std::time::Instant::now();
    let mut capture = pcap::Capture::from_file(&path).expect("a capture file");
    let (mut packets, mut bytes) = (0u64, 0u64);
    while let Ok(packet) = capture.next_packet() {
        packets += 1;
        bytes += u64::from(packet.header.len);
    }
    println!("{packets} packets {bytes} bytes {:.3} s", began.elapsed().as_secs_f64());
}
