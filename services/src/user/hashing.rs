//! Argon2id on threads of its own: few, of low priority, behind a bounded queue.
//!
//! A hash costs tens of ms of a core, so it never runs on a front or a shard; who floods the login
//! fills this queue and nothing else.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
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
/// Hashes that may wait.
const QUEUE_MAX: usize = 64;
/// A hash under these parameters that no password has: what an unknown user is checked against, so
/// that it takes as long as a known one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

type Job = Box<dyn FnOnce() + Send>;

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
        self.run(move || {
            let mut salt = [0; SALT_BYTES];
            aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the system gave no randomness".to_owned())?;
            let hash = hasher()?.hash_password_with_salt(password.bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
        })
        .await
    }

    /// True if the password has this hash. Without a hash it takes as long, and is false.
    pub async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool, Rejection> {
        self.run(move || {
            let text = hash.as_deref().unwrap_or(NOBODY);
            let parsed = PasswordHash::new(text).map_err(|error| format!("a password's hash: {error}"))?;
            let same = hasher()?.verify_password(password.bytes(), &parsed).is_ok();
            Ok(same && hash.is_some())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, Rejection> {
        let (done, answer) = oneshot::channel();
        // Who gave up waiting needs no hash.
        let waiting = Arc::clone(&self.waiting);
        waiting.fetch_add(1, Ordering::Relaxed);
        let job = Box::new(move || {
            waiting.fetch_sub(1, Ordering::Relaxed);
            if !done.is_closed() {
                let _ = done.send(work());
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
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn work(queue: &Mutex<Receiver<Job>>) {
    yield_to_orders();
    loop {
        // The guard goes before the job runs.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
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
