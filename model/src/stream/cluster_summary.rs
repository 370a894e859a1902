//! cluster_summary: what the whole cluster saw, a row an interval. Zeek has nothing like it in a log: `stats.log` is by node, and
//! ZeekControl's `trace-summary` reads conn.log afterwards. Names are theirs where they have one.

use crate::stream;

stream! {
    /// Totals, talkers, services and workers' shares of the whole cluster, a row an interval.
    "cluster_summary", Asset, version 1;
    zeek {
        /// Begin of the interval. A flow counts once, by its last row, in the interval that its last packet lies in.
        ts "ts": Time,
        /// Length of the interval.
        ts_delta "ts_delta": Interval,
        /// Flows.
        conns "conns": Count,
        /// Those of TCP.
        tcp_conns "tcp_conns": Count,
        /// Those of UDP.
        udp_conns "udp_conns": Count,
        /// Those of ICMP.
        icmp_conns "icmp_conns": Count,
        /// Packets of these flows, both ways.
        pkts "pkts": Count,
        /// Bytes of their IP packets, headers included.
        ip_bytes "ip_bytes": Count,
        /// Bytes of their payload, as conn counts them.
        payload_bytes "payload_bytes": Count,
        /// Bytes in content gaps: what sensors lost, or never saw.
        missed_bytes "missed_bytes": Count,
        /// Distinct originators: exactly up to 1024, an estimate beyond (standard error 3.3 %).
        orig_hosts "orig_hosts": Count,
        /// Distinct responders, counted alike.
        resp_hosts "resp_hosts": Count,
        /// Hosts with the most bytes, at most ten, the heaviest first.
        talkers "talkers": Vector<Addr>,
        /// Bytes of IP packets that each of them sent and received.
        talker_bytes "talker_bytes": Vector<Count>,
        /// How much more a host may have had, named or not; 0 where no more than 4096 hosts were seen.
        talker_error "talker_error": Count,
        /// Services with the most bytes, as conn names them, at most ten, the heaviest first. Flows without one
        /// are in none.
        services "services": Vector<Str>,
        /// Flows of each of them.
        service_conns "service_conns": Vector<Count>,
        /// Bytes of IP packets of each of them.
        service_bytes "service_bytes": Vector<Count>,
        /// Nodes that saw the flows, the busiest first.
        workers "workers": Vector<Str>,
        /// Share of each of them of all packets that they saw; together 1. What several saw counts for each.
        shares "shares": Vector<Double>,
        /// The largest share over the mean: 1 where all have as much to do, as many as there are workers where one
        /// has all. A worker that saw no flow is not among them.
        imbalance "imbalance": Option<Double>,
    }
    policy {}
    weir {}
}
