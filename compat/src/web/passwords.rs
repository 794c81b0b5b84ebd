//! Whether a password is a user's: bcrypt, of which few run at once, and what came of it lately.
//!
//! 1. What was asked is known by a keyed MAC of user, hash and password, each with its length, and whether the user exists. Nobody
//!    without the key can make two questions look like one, and no password stays in memory.
//! 2. Answers are kept, yes and no apart, so that a flood of guesses does not drive out those who belong here.
//! 3. What is not known waits for its turn and is looked up again, since others may have asked the same. Then bcrypt runs in a thread
//!    that may block; a user who does not exist takes as long as one who does. Too many that wait are sent away.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::users::Users;

/// Most questions that wait for their turn: some seconds of bcrypt at its usual cost.
const WAITING_MAX: usize = 64;
/// Most answers that are kept of each kind.
const ANSWERS_MAX: usize = 1024;

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Compares passwords with hashes.
#[derive(Debug)]
pub struct Passwords {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

#[derive(Debug)]
struct Shared {
    key: hmac::Key,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    yes: HashSet<[u8; 32]>,
    no: HashSet<[u8; 32]>,
}

impl Passwords {
    /// With a key of its own; nothing where the system has no random numbers.
    pub fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Some(Self {
            shared: Arc::new(Shared { key, answers: Mutex::default() }),
            turns: Arc::new(Semaphore::new((threads / 4).max(1))),
            waiting: Semaphore::new(WAITING_MAX),
        })
    }

    /// Whether `password` is that of `user`.
    ///
    /// # Errors
    /// [`Busy`] where too many wait.
    pub async fn verify(&self, users: &Users, user: &str, password: &[u8]) -> Result<bool, Busy> {
        let Some((hash, exists)) = users.hash_of(user) else { return Ok(false) };
        let question = self.shared.question(user, hash.expose(), password, exists);
        if let Some(known) = self.shared.known(&question) {
            return Ok(known);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Busy)?;
        if let Some(known) = self.shared.known(&question) {
            return Ok(known);
        }
        let (shared, hash, password) = (Arc::clone(&self.shared), hash.clone(), password.to_vec());
        // goes on where the client goes away, and keeps its turn until it is done
        let compared = tokio::task::spawn_blocking(move || {
            let same = bcrypt::verify(&password, hash.expose()).unwrap_or(false);
            shared.keep(question, same && exists);
            drop(turn);
            same && exists
        });
        compared.await.map_err(|_| Busy)
    }
}

impl Shared {
    fn question(&self, user: &str, hash: &str, password: &[u8], exists: bool) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password, &[u8::from(exists)]] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn known(&self, question: &[u8; 32]) -> Option<bool> {
        let answers = self.answers.lock();
        if answers.yes.contains(question) {
            return Some(true);
        }
        answers.no.contains(question).then_some(false)
    }

    fn keep(&self, question: [u8; 32], answer: bool) {
        let mut answers = self.answers.lock();
        let kept = if answer { &mut answers.yes } else { &mut answers.no };
        if kept.len() >= ANSWERS_MAX {
            kept.clear();
        }
        kept.insert(question);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::web::secret::Secret;

    fn users(of: &[(&str, &str)]) -> Users {
        let hash = |password: &str| Secret::from(bcrypt::hash(password, 4).unwrap().as_str());
        let hashes: BTreeMap<String, Secret> = of.iter().map(|(name, pw)| ((*name).to_owned(), hash(pw))).collect();
        Users::try_new(hashes).unwrap()
    }

    #[tokio::test]
    async fn answers_are_right_and_kept() {
        let (passwords, users) = (Passwords::new().unwrap(), users(&[("a", "1"), ("b", "2")]));
        let cases = [("a", "1", true), ("a", "2", false), ("b", "2", true), ("c", "1", false), ("c", "2", false)];
        for _ in 0..2 {
            for (user, password, answer) in cases {
                assert_eq!(passwords.verify(&users, user, password.as_bytes()).await, Ok(answer), "{user}");
            }
        }
        let answers = passwords.shared.answers.lock();
        assert_eq!((answers.yes.len(), answers.no.len()), (2, 3));
    }

    #[tokio::test]
    async fn an_answer_is_good_for_its_hash_alone() {
        let passwords = Passwords::new().unwrap();
        let before = users(&[("a", "1")]);
        assert_eq!(passwords.verify(&before, "a", b"1").await, Ok(true));
        assert_eq!(passwords.verify(&users(&[("a", "2")]), "a", b"1").await, Ok(false));
        // the hash of the one who exists is what others are compared with
        assert_eq!(passwords.verify(&before, "b", b"1").await, Ok(false));
        let mut both = before.hashes_for_test();
        both.insert("b".to_owned(), both["a"].clone());
        assert_eq!(passwords.verify(&Users::try_new(both).unwrap(), "b", b"1").await, Ok(true));
    }

    #[test]
    fn parts_of_a_question_do_not_run_into_each_other() {
        let shared = Passwords::new().unwrap().shared;
        let same = shared.question("ab", "c", b"d", true);
        assert_eq!(same, shared.question("ab", "c", b"d", true));
        for other in [
            shared.question("a", "bc", b"d", true),
            shared.question("ab", "cd", b"", true),
            shared.question("ab", "c", b"d", false),
            Passwords::new().unwrap().shared.question("ab", "c", b"d", true),
        ] {
            assert_ne!(same, other);
        }
    }

    #[tokio::test]
    async fn a_flood_is_sent_away_but_not_who_is_known() {
        let (passwords, users) = (Passwords::new().unwrap(), users(&[("a", "1")]));
        assert_eq!(passwords.verify(&users, "a", b"1").await, Ok(true));
        let turns = passwords.turns.available_permits();
        let held = passwords.turns.acquire_many(u32::try_from(turns).unwrap()).await.unwrap();
        let guesses: Vec<Vec<u8>> = (0..WAITING_MAX + 1).map(|n| n.to_string().into_bytes()).collect();
        let mut asked: Vec<_> =
            guesses[..WAITING_MAX].iter().map(|guess| Box::pin(passwords.verify(&users, "b", guess))).collect();
        for waiting in &mut asked {
            assert!(futures::poll!(waiting.as_mut()).is_pending());
        }
        assert_eq!(passwords.verify(&users, "b", &guesses[WAITING_MAX]).await, Err(Busy));
        assert_eq!(passwords.verify(&users, "a", b"1").await, Ok(true));
        drop(held);
        for waiting in asked {
            assert_eq!(waiting.await, Ok(false));
        }
    }
}
