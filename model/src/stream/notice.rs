//! notice: one row a decision worth a person's time (Zeek `base/frameworks/notice`).

use crate::stream;

stream! {
    /// Notices, one for the whole cluster.
    "notice", Asset, version 1;
    zeek {
        /// When it happened.
        ts "ts": Option<Time>,
        /// Unique id of the flow, where there is one.
        uid "uid": Option<Str>,
        /// Originator's address.
        orig_h "id.orig_h": Option<Addr>,
        /// Originator's port.
        orig_p "id.orig_p": Option<Port>,
        /// Responder's address.
        resp_h "id.resp_h": Option<Addr>,
        /// Responder's port.
        resp_p "id.resp_p": Option<Port>,
        /// File it is about.
        fuid "fuid": Option<Str>,
        /// Type of that file.
        file_mime_type "file_mime_type": Option<Str>,
        /// Description of that file.
        file_desc "file_desc": Option<Str>,
        /// Transport protocol.
        proto "proto": Option<Enum>,
        /// Type of the notice.
        note "note": Enum,
        /// What happened, in words.
        msg "msg": Option<Str>,
        /// More on it.
        sub "sub": Option<Str>,
        /// Source address.
        src "src": Option<Addr>,
        /// Destination address.
        dst "dst": Option<Addr>,
        /// Port.
        p "p": Option<Port>,
        /// Workers that saw it.
        n "n": Option<Count>,
        /// Node that raised it.
        peer_descr "peer_descr": Option<Str>,
        /// What was done.
        actions "actions": Set<Enum>,
        /// Where mail goes.
        email_dest "email_dest": Set<Str>,
        /// How long the same notice is held back.
        suppress_for "suppress_for": Interval,
        /// Country.
        remote_location_country_code "remote_location.country_code": Option<Str>,
        /// Region.
        remote_location_region "remote_location.region": Option<Str>,
        /// City.
        remote_location_city "remote_location.city": Option<Str>,
        /// Latitude.
        remote_location_latitude "remote_location.latitude": Option<Double>,
        /// Longitude.
        remote_location_longitude "remote_location.longitude": Option<Double>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, where there is one.
        community_id "community_id": Option<Str>,
        /// What makes two notices of a type the same; unset: never the same.
        identifier "identifier": Option<Str>,
        /// Workers that saw it.
        observers "observers": Set<Str>,
        /// When it was last seen before the row was written.
        last_ts "last_ts": Option<Time>,
    }
}
