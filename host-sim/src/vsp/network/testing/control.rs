//! Control messages of a guest.

use vsc_net::wire::ndis::Oid;
use vsc_net::wire::nvsp::Status;
use vsc_net::wire::rndis::{self, InitializeRequest, Reply, Request};

use super::guest::Guest;

impl Guest {
    /// Sends a control message and returns the answer's bytes.
    ///
    /// # Panics
    /// If there is none.
    pub fn request(&mut self, request: &Request<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        let length = request.emit(&mut bytes).expect("room").len();
        let status = self.send_control(&bytes[..length]).expect("a sound device");
        assert_eq!(status, Status::SUCCESS, "{request:?}");
        self.work(0).expect("a sound device");
        self.replies.pop_front().expect("an answer")
    }

    /// Takes an answer that has come without being waited for.
    pub fn take_reply(&mut self) -> Option<Vec<u8>> {
        self.replies.pop_front()
    }

    /// Initialises RNDIS.
    ///
    /// # Panics
    /// If it fails.
    pub fn initialize(&mut self) {
        let answer = self.request(&Request::Initialize(InitializeRequest {
            request_id: 1.into(),
            major_version: 1.into(),
            minor_version: 0.into(),
            max_transfer_size: 0x4000.into(),
        }));
        let Ok(Reply::InitializeComplete(complete)) = Reply::parse(&answer) else {
            panic!("{answer:?}")
        };
        assert_eq!(complete.status.get(), 0);
        assert_eq!(complete.max_packets_per_message.get(), 8);
        assert_eq!(complete.packet_alignment_factor.get(), 3);
    }

    /// Asks an OID.
    ///
    /// # Errors
    /// The status that the host refuses with.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn query(&mut self, oid: Oid, information: &[u8]) -> Result<Vec<u8>, rndis::Status> {
        let id = self.fresh_id() as u32;
        let answer = self.request(&Request::Query {
            request_id: id,
            oid,
            information,
        });
        match Reply::parse(&answer) {
            Ok(Reply::QueryComplete {
                request_id,
                status,
                information,
            }) if request_id == id => {
                if status == rndis::Status::SUCCESS {
                    Ok(information.to_vec())
                } else {
                    assert!(information.is_empty());
                    Err(status)
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Asks an OID that is answered by a word.
    ///
    /// # Panics
    /// If it is not.
    pub fn query_word(&mut self, oid: Oid) -> u32 {
        let answer = self.query(oid, &[0; 4]).expect("an answer");
        u32::from_le_bytes(answer.try_into().expect("a word"))
    }

    /// Sets an OID.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn set(&mut self, oid: Oid, information: &[u8]) -> rndis::Status {
        let id = self.fresh_id() as u32;
        let answer = self.request(&Request::Set {
            request_id: id,
            oid,
            information,
        });
        match Reply::parse(&answer) {
            Ok(Reply::SetComplete { request_id, status }) if request_id == id => status,
            other => panic!("{other:?}"),
        }
    }

    /// Says which frames the guest wants.
    ///
    /// # Panics
    /// If that is refused.
    pub fn set_filter(&mut self, filter: u32) {
        let status = self.set(Oid::GEN_CURRENT_PACKET_FILTER, &filter.to_le_bytes());
        assert_eq!(status, rndis::Status::SUCCESS);
    }
}
