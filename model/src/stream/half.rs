//! half: what a row of `raw.conn` says beyond conn, so that aggregators can make one row of what several
//! sensors saw of a flow; never logged.
//!
//! A flow of which one direction was seen is a *half*: its letters have their times, and its numbers say
//! how the other half fits. Of a flow seen in both directions only the initial numbers are told, and only
//! where taps overlap.

use crate::stream;

stream! {
    /// What joining a flow takes, beside its row of conn.
    "half", Flow, version 2;
    zeek {}
    policy {}
    weir {
        /// Last packet, microseconds after `ts`; unset where the row has nothing to be joined with.
        last "half.last": Option<Int>,
        /// Whether the sender of the direction that was seen is the originator; unset where both were seen.
        is_orig "half.is_orig": Option<Bool>,
        /// History letters of that direction in upper case, `^` where the roles changed, and `-` for a packet
        /// that wrote none but went further or acknowledged more than those before it. In lower case those that it
        /// would have written if the flow had begun with the last of `half.rests` before it.
        letters "half.letters": Option<Str>,
        /// When each of them was written, microseconds after `ts`.
        times "half.times": Option<Vector<Int>>,
        /// For each of them the number that follows its packet, where that went further than those before it or is a
        /// FIN's or a SYN's; else -1.
        ends "half.ends": Option<Vector<Int>>,
        /// For each of them the number that its packet acknowledged; else -1.
        acks "half.acks": Option<Vector<Int>>,
        /// Its time was over before its last packet came, by the packets that the sensor had seen: what comes
        /// next is another flow.
        is_late "half.is_late": Option<Bool>,
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
        /// Protocols that this direction alone has confirmed, comma-joined, in the order that it did.
        confirmed "half.confirmed": Option<Str>,
        /// When it did, microseconds after `ts`.
        confirmed_at "half.confirmed_at": Option<Vector<Int>>,
        /// Protocols that it would confirm if the other direction does its part as well, comma-joined.
        fits "half.fits": Option<Str>,
        /// When that was known, microseconds after `ts`; -1 where its first payload says so.
        fits_at "half.fits_at": Option<Vector<Int>>,
        /// Protocols that its first payload is of by itself, where the flow's beginning was not seen: they would be
        /// confirmed if the other direction's was, comma-joined.
        begins "half.begins": Option<Str>,
        /// For each of `tunnel_parents` a name that it has whichever of its directions was seen.
        tunnels "half.tunnels": Option<Vector<Str>>,
        /// When it was first in each of them, microseconds after `ts`.
        tunnels_at "half.tunnels_at": Option<Vector<Int>>,
        /// Protocols that it is not, comma-joined.
        ruled_out "half.ruled_out": Option<Str>,
        /// When that was known, microseconds after `ts`; -1 where its first payload is not of the protocol.
        ruled_out_at "half.ruled_out_at": Option<Vector<Int>>,
        /// Bytes that were not seen, two numbers each: where they begin and where they end, counted as
        /// `half.reached`.
        holes "half.holes": Option<Vector<Int>>,
        /// Where the flow may have been over for who sees both directions, after silence or before a SYN: six
        /// numbers each. When its packets went on, microseconds after `ts`; how long there were none; packets and
        /// bytes of IP before that; the number that they went on with, and the one that follows all before, or -1.
        rests "half.rests": Option<Vector<Int>>,
        /// It ended as a SYN began another flow, and not by a timer or as the sensor stopped.
        is_replaced "half.is_replaced": Option<Bool>,
    }
}
