//! A proxy between roles and broker that cuts connections, delays what they carry, keeps answers back (a commit whose
//! answer is lost), and sends requests of a cut connection once more when their sender has long gone on.
//!
//! Sent again are `Produce` and `InitProducerId` alone: the broker tells by sequence and epoch that they are old. What
//! ends a transaction has no such number before KIP-890, of which librdkafka has only half: one that is delivered
//! within the same epoch after it was tried again would end the transaction after it. Within TCP that takes a broker
//! that still reads from a connection which its client has given up seconds ago.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::field::Field;
use crate::harness::cluster::Cluster;
use crate::harness::kafka;
use crate::harness::random::Random;
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// Kafka's numbers of the requests that are sent again.
const AGAIN: [u16; 2] = [0, 22];
/// Kafka's number of the request that ends a transaction.
pub(super) const END_TXN: u16 = 26;
/// So many of a connection's last requests may be.
const KEPT: usize = 4;

/// What a proxy has done.
#[derive(Debug, Default)]
pub struct Counts {
    pub cut: AtomicUsize,
    pub unanswered: AtomicUsize,
    /// Ends of transactions that the broker was told and whose answers were kept back.
    pub ends_unanswered: AtomicUsize,
    pub again: AtomicUsize,
}

/// A proxy at work.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker: u16,
    random: Mutex<Random>,
    /// From now on connections are left alone.
    calm: AtomicBool,
    stopped: AtomicBool,
    counts: Counts,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
struct Fate {
    ends: Instant,
    /// For so long before its end nothing is answered.
    unanswered: Duration,
    /// So long each thing takes that it carries.
    delay: Duration,
    again: bool,
}

impl Fate {
    /// Whether nothing is answered any more.
    fn is_mute(&self) -> bool {
        self.ends.saturating_duration_since(Instant::now()) <= self.unanswered
    }
}

impl Proxy {
    /// Listens where the broker says that it does.
    pub fn start(broker: &kafka::Kafka, random: &Random) -> Proxy {
        let (inner, outer) = broker.proxied();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, outer)).expect("the proxy's port");
        let shared = Arc::new(Shared {
            broker: inner,
            random: Mutex::new(random.clone()),
            calm: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            counts: Counts::default(),
        });
        let proxy = shared.clone();
        listener.set_nonblocking(true).expect("a listener that does not wait");
        thread::spawn(move || {
            while !proxy.stopped.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => proxy.clone().carry(client),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Proxy { shared }
    }

    /// Leaves all new connections alone.
    pub fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::SeqCst);
    }

    /// What it has done.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn fate(&self) -> Fate {
        let mut random = self.random.lock().expect("the dice");
        let kept_back = random.below(2) == 0;
        Fate {
            ends: Instant::now() + random.between_ms(300, 8000),
            unanswered: if kept_back { random.between_ms(100, 1500) } else { Duration::ZERO },
            delay: if random.below(4) == 0 { random.between_ms(1, 60) } else { Duration::ZERO },
            again: random.below(2) == 0,
        }
    }

    /// Carries one connection, in threads of its own.
    fn carry(self: Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.broker)) else { return };
        let fate = self.fate();
        let sockets = [&client, &broker];
        for socket in sockets {
            let set = socket.set_nonblocking(false).and_then(|()| socket.set_nodelay(true));
            let looks = socket.set_read_timeout(Some(Duration::from_millis(20)));
            set.and(looks).expect("settings of a socket");
        }
        let copy = |socket: &TcpStream| socket.try_clone().expect("one more handle");
        let (back, there) = ((copy(&broker), copy(&client)), (client, broker));
        let proxy = self.clone();
        thread::spawn(move || {
            let (mut broker, mut client) = back;
            let is_over = |proxy: &Shared| fate.is_mute() && !proxy.calm.load(Ordering::SeqCst);
            let _ = proxy.pump(&mut broker, &mut client, fate.delay, is_over);
            // What is not carried back any more is read all the same: the broker must not wait.
            let mut lost = [0; 4096];
            while fate.ends > Instant::now() && !proxy.stopped.load(Ordering::SeqCst) {
                if broker.read(&mut lost).is_ok_and(|length| length == 0) {
                    break;
                }
            }
            let _ = broker.shutdown(Shutdown::Both);
            let _ = client.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            let (mut client, mut broker) = there;
            let requests = self.requests(&mut client, &mut broker, fate);
            let _ = broker.shutdown(Shutdown::Both);
            let _ = client.shutdown(Shutdown::Both);
            if fate.again && !self.calm.load(Ordering::SeqCst) {
                self.send_again(&requests);
            }
        });
    }

    /// Carries bytes until one side closes or it is over.
    fn pump(
        &self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        delay: Duration,
        is_over: impl Fn(&Shared) -> bool,
    ) -> io::Result<()> {
        let mut bytes = vec![0; 64 << 10];
        while !is_over(self) && !self.stopped.load(Ordering::SeqCst) {
            match from.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if is_over(self) => break,
                Ok(length) => {
                    thread::sleep(delay);
                    to.write_all(&bytes[..length])?;
                }
                Err(error) if is_patient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Carries requests until the connection's time is over, and gives the last ones that may come again.
    fn requests(&self, from: &mut TcpStream, to: &mut TcpStream, fate: Fate) -> VecDeque<Vec<u8>> {
        let (mut kept, mut held, mut bytes) = (VecDeque::new(), Vec::new(), vec![0; 64 << 10]);
        loop {
            let calm = self.calm.load(Ordering::SeqCst);
            if self.stopped.load(Ordering::SeqCst) || (!calm && Instant::now() > fate.ends) {
                self.counts.cut.fetch_add(1, Ordering::SeqCst);
                if !fate.unanswered.is_zero() {
                    self.counts.unanswered.fetch_add(1, Ordering::SeqCst);
                }
                return kept;
            }
            match from.read(&mut bytes) {
                Ok(0) => return kept,
                Ok(length) => {
                    thread::sleep(fate.delay);
                    let is_unanswered = fate.is_mute() && !calm;
                    if to.write_all(&bytes[..length]).is_err() {
                        return kept;
                    }
                    held.extend_from_slice(&bytes[..length]);
                    while let Some(request) = whole(&mut held) {
                        let kind = u16::from_be_bytes([request[4], request[5]]);
                        if kind == END_TXN && is_unanswered {
                            self.counts.ends_unanswered.fetch_add(1, Ordering::SeqCst);
                        }
                        if AGAIN.contains(&kind) {
                            kept.push_back(request);
                        }
                        if kept.len() > KEPT {
                            kept.pop_front();
                        }
                    }
                }
                Err(error) if is_patient(&error) => {}
                Err(_) => return kept,
            }
        }
    }

    fn send_again(&self, requests: &VecDeque<Vec<u8>>) {
        if requests.is_empty() {
            return;
        }
        let wait = self.random.lock().expect("the dice").between_ms(0, 3000);
        thread::sleep(wait);
        let Ok(mut broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.broker)) else { return };
        let sent = requests.iter().filter(|request| broker.write_all(request).is_ok()).count();
        self.counts.again.fetch_add(sent, Ordering::SeqCst);
        // Until the broker has done what it was told.
        let _ = broker.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = broker.read(&mut [0; 4096]);
    }
}

/// Nothing came yet.
pub(super) fn is_patient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The first whole request: its length in four bytes, and at least kind and version.
pub(super) fn whole(held: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(*held.first_chunk::<4>()?) as usize + 4;
    if held.len() < length.max(8) {
        return None;
    }
    let rest = held.split_off(length);
    Some(std::mem::replace(held, rest))
}

/// A cluster behind a proxy.
pub fn cut_off(load: &'static Load, random: &Random) {
    let broker = kafka::shared();
    let proxy = Proxy::start(broker, random);
    proxy.calm_down();
    let cluster = Cluster::on(format!("127.0.0.1:{}", broker.proxied().1), SETTINGS);
    let mut field = Field::start_in_turn(cluster, load, random);
    proxy.shared.calm.store(false, Ordering::SeqCst);
    while field.is_under_load() {
        thread::sleep(Duration::from_millis(50));
    }
    proxy.calm_down();
    let counts = proxy.counts();
    eprintln!("{counts:?}");
    let Counts { cut, unanswered, ends_unanswered, again } = counts;
    for (count, least) in [(cut, 10), (unanswered, 3), (ends_unanswered, 0), (again, 0)] {
        assert!(count.load(Ordering::SeqCst) > least, "{counts:?}");
    }
    field.finish();
}

#[test]
fn connections_cut_and_answers_lost_cost_nothing() {
    cut_off(Load::short(), &seeded());
}
