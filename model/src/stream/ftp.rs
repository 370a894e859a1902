//! ftp: one row a command that moves or removes a file, or that announces a data connection (Zeek
//! `base/protocols/ftp/info.zeek`).

use crate::stream;

stream! {
    /// FTP commands with their replies.
    "ftp", Flow, version 1;
    zeek {
        /// When the command was sent.
        ts "ts": Time,
        /// Unique id of the control connection, the same in every run over the same capture.
        uid "uid": Str,
        /// Originator's address.
        orig_h "id.orig_h": Addr,
        /// Originator's port.
        orig_p "id.orig_p": Port,
        /// Responder's address.
        resp_h "id.resp_h": Addr,
        /// Responder's port.
        resp_p "id.resp_p": Port,
        /// User's name as given; `<unknown>` before one was.
        user "user": Str,
        /// Password of a guest, which is mostly an address; `<hidden>` for others.
        password "password": Option<Str>,
        /// The command.
        command "command": Option<Str>,
        /// Its argument, as a URL where it names a file.
        arg "arg": Option<Str>,
        /// Type of the file, told by its content.
        mime_type "mime_type": Option<Str>,
        /// Size of the file as the server said.
        file_size "file_size": Option<Count>,
        /// Code of the server's reply.
        reply_code "reply_code": Option<Count>,
        /// Text of the server's reply.
        reply_msg "reply_msg": Option<Str>,
        /// Whether the client will open the data connection that was announced.
        data_channel_passive "data_channel.passive": Option<Bool>,
        /// Who will open it.
        data_channel_orig_h "data_channel.orig_h": Option<Addr>,
        /// Who will accept it.
        data_channel_resp_h "data_channel.resp_h": Option<Addr>,
        /// On which port.
        data_channel_resp_p "data_channel.resp_p": Option<Port>,
        /// Id of the file that was moved, see files.
        fuid "fuid": Option<Str>,
    }
    policy {}
    weir {
        /// Community ID v1 of the control connection, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
