//! Argon2id on threads of its own: few, of low priority, behind a bounded queue.
//!
//! A hash costs tens of ms of a core, so it never runs on a front or a shard; who floods the login
//! fills this queue and nothing else.

use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use onrush_proto::Refusal;
use tokio::sync::oneshot;

use super::password::Password;
use crate::priority::yield_to_orders;
use crate::status::Rejection;

/// OWASP's parameters: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// Hashes that may wait.
const QUEUE_MAX: usize = 64;
/// A hash under these parameters that no password has: what an unknown user is checked against, so
/// that it takes as long as a known one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// The blocks that a thread fills. They stay its own from hash to hash: to map and clear 19 MiB for each would hold up
/// whoever else of the process wants memory.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    /// The output for a password.
    fn derive(&mut self, hasher: &Argon2<'_>, password: &Password, salt: &[u8]) -> Result<Output, String> {
        let blocks = hasher.params().block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        let mut bytes = [0; Output::MAX_LENGTH];
        let bytes = &mut bytes[..hasher.params().output_len().unwrap_or(OUTPUT_BYTES)];
        let filled =
            hasher.hash_password_into_with_memory(password.bytes(), salt, bytes, &mut self.0[..blocks]);
        filled.map_err(|error| error.to_string())?;
        Output::new(bytes).map_err(|error| error.to_string())
    }
}

/// The threads. They end when the last clone is gone.
#[derive(Clone)]
pub struct Hashing {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Hashing {
    /// Starts the threads: half as many as cores.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            Builder::new().name("onrush-hashing".into()).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs, waiting: Arc::default() })
    }

    /// Passwords that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The hash of a new password, with a salt of its own, as a PHC string.
    pub async fn hash(&self, password: Password) -> Result<String, Rejection> {
        self.run(move |memory| {
            let mut salt = [0; SALT_BYTES];
            aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the system gave no randomness".to_owned())?;
            let output = memory.derive(&hasher()?, &password, &salt)?;
            phc(&salt, output)
        })
        .await
    }

    /// True if the password has this hash. Without a hash it takes as long, and is false.
    pub async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool, Rejection> {
        self.run(move |memory| {
            let found = PasswordHash::new(hash.as_deref().unwrap_or(NOBODY)).map_err(unreadable)?;
            let hasher = hasher_of(&found)?;
            let salt = found.salt.ok_or("a password's hash without a salt")?;
            let output = memory.derive(&hasher, &password, &salt)?;
            // Outputs are compared in constant time.
            Ok(found.hash == Some(output) && hash.is_some())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Rejection> {
        let (done, answer) = oneshot::channel();
        // Who gave up waiting needs no hash.
        let waiting = Arc::clone(&self.waiting);
        waiting.fetch_add(1, Ordering::Relaxed);
        let job = Box::new(move |memory: &mut Memory| {
            waiting.fetch_sub(1, Ordering::Relaxed);
            if !done.is_closed() {
                let _ = done.send(work(memory));
            }
        });
        self.jobs.try_send(job).map_err(|error| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Refusal::Overloaded,
                TrySendError::Disconnected(_) => Refusal::Stopped,
            }
        })?;
        let done = answer.await.map_err(|_| Rejection::Internal("a hashing thread ended".into()))?;
        done.map_err(Rejection::Internal)
    }
}

fn hasher() -> Result<Argon2<'static>, String> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES)).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn unreadable(error: impl Display) -> String {
    format!("a password's hash: {error}")
}

/// What made this hash, with the parameters of its day.
fn hasher_of(hash: &PasswordHash) -> Result<Argon2<'static>, String> {
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(unreadable)?;
    let version = hash.version.map(Version::try_from).transpose().map_err(unreadable)?;
    let params = Params::try_from(hash).map_err(unreadable)?;
    Ok(Argon2::new(algorithm, version.unwrap_or_default(), params))
}

fn phc(salt: &[u8], output: Output) -> Result<String, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(unreadable)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(unreadable)?,
        salt: Some(Salt::new(salt).map_err(unreadable)?),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn work(queue: &Mutex<Receiver<Job>>) {
    yield_to_orders();
    let mut memory = Memory::default();
    loop {
        // The guard goes before the job runs.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(&mut memory),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hashes_verify_and_an_unknown_user_burns_the_same() {
        let hashing = Hashing::start().unwrap();
        let password = |text: &str| Password::given("password", text).unwrap();
        let hash = hashing.hash(password("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hashing.verify(password("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!hashing.verify(password("wrong horse"), Some(hash)).await.unwrap());
        assert!(!hashing.verify(password("correct horse"), None).await.unwrap());
        // Another implementation made this one, under other parameters.
        let foreign =
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(hashing.verify(password("password"), Some(foreign.into())).await.unwrap());
        assert!(!hashing.verify(password("passwort"), Some(foreign.into())).await.unwrap());
        let parameters = |text: &str| PasswordHash::new(text).unwrap().params.to_string();
        assert_eq!(parameters(NOBODY), "m=19456,t=2,p=1");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let hashing = Hashing::start().unwrap();
        let password = Password::given("password", "correct horse").unwrap();
        let tasks = (0..4 * QUEUE_MAX).map(|_| {
            let (hashing, password) = (hashing.clone(), password.clone());
            async move { hashing.verify(password, None).await }
        });
        let mut asked: Vec<_> = tasks.map(Box::pin).collect();
        let mut refused = 0;
        for task in &mut asked {
            let polled =
                std::future::poll_fn(|context| std::task::Poll::Ready(task.as_mut().poll(context))).await;
            refused += usize::from(matches!(
                polled,
                std::task::Poll::Ready(Err(Rejection::Refused(Refusal::Overloaded)))
            ));
        }
        assert!(refused > 0, "a queue of {QUEUE_MAX} took {} at once", asked.len());
        assert!((1..=QUEUE_MAX).contains(&hashing.waiting()), "{}", hashing.waiting());
    }
}
