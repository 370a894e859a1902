//! half: what a row of `raw.conn` says beyond conn, so that aggregators can make one row of what several
//! sensors saw of a flow; never logged.
//!
//! A flow of which one direction was seen is a *half*: its letters have their times, and its numbers say
//! how the other half fits. Of a flow seen in both directions only the initial numbers are told, and only
//! where taps overlap.

use crate::stream;

stream! {
    /// What joining a flow takes, beside its row of conn.
    "half", Flow, version 1;
    zeek {}
    policy {}
    weir {
        /// Last packet, microseconds after `ts`; unset where the row has nothing to be joined with.
        last "half.last": Option<Int>,
        /// Whether the sender of the direction that was seen is the originator; unset where both were seen.
        is_orig "half.is_orig": Option<Bool>,
        /// History letters of that direction in upper case, `^` where the roles changed.
        letters "half.letters": Option<Str>,
        /// When each letter was written, microseconds after `ts`.
        times "half.times": Option<Vector<Int>>,
        /// Initial sequence number of the direction that was seen, else of the originator.
        start "half.start": Option<Count>,
        /// Initial sequence number of the responder, where both directions were seen.
        peer_start "half.peer_start": Option<Count>,
        /// For TCP how far its numbers went from `start` on, those of SYN and FIN included; else its payload.
        reached "half.reached": Option<Count>,
        /// The number of the other direction that was acknowledged last.
        ack "half.ack": Option<Count>,
        /// How far its payload went, counted so.
        data "half.data": Option<Count>,
        /// The number that the first FIN acknowledged.
        fin_ack "half.fin_ack": Option<Count>,
        /// Last packet with new payload, microseconds after `ts`.
        last_data "half.last_data": Option<Int>,
        /// Protocols that its beginning looks like, as far as one direction tells, comma-joined.
        alive "half.alive": Option<Str>,
        /// Protocols that its beginning alone does not rule out, comma-joined.
        open "half.open": Option<Str>,
        /// Protocols that its port alone speaks for, comma-joined.
        by_port "half.by_port": Option<Str>,
        /// Bytes that were not seen, three numbers each: when that was found, microseconds after `ts`, where
        /// they begin and where they end, counted as `half.reached`.
        holes "half.holes": Option<Vector<Int>>,
    }
}
