//! Many who ask at once are answered together.
//!
//! A crowd that comes back after a deployment asks the same few things in the same second. With a connection for each
//! question most of it would wait for one until it is told to come back; here one question is under way, and all who
//! came meanwhile share the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use application::ports::StoreError;
use tokio::sync::{Mutex as Turn, oneshot};

/// Questions that are asked together. What one of them costs stays small against the way to the database and back, and
/// one answer within the time that a statement has.
const TOGETHER_MAX: usize = 500;

type Answer<A> = Result<A, StoreError>;

/// Somebody who asked.
struct Asked<Q, A> {
    question: Q,
    tell: oneshot::Sender<Answer<A>>,
}

/// Who waits, and whose turn it is. Those who wait are requests of this node, one for each connection, and a few tasks: its
/// bound on connections is theirs, and is where too many are counted. Whoever has gone takes no room for long.
pub(super) struct Crowd<Q, A> {
    /// Never held over an await.
    waiting: Mutex<Vec<Asked<Q, A>>>,
    turn: Turn<()>,
}

impl<Q, A> Default for Crowd<Q, A> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            turn: Turn::new(()),
        }
    }
}

impl<Q: Clone, A> Crowd<Q, A> {
    /// Asks together with whoever else waits. `together` answers questions in their order; it begins after each of them
    /// was asked, so that no answer is older than its question. Whoever asks on behalf of the others may be dropped: they
    /// ask again.
    pub(super) async fn ask<F>(&self, question: Q, mut together: impl FnMut(Vec<Q>) -> F) -> Answer<A>
    where
        F: Future<Output = Answer<Vec<A>>>,
    {
        loop {
            let mut told = self.join(question.clone());
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut told => break answer,
                    _turn = self.turn.lock() => {
                        let (questions, tell) = self.next();
                        if !questions.is_empty() {
                            share(together(questions).await, tell);
                        }
                    }
                }
            };
            if let Ok(answer) = answer {
                return answer;
            }
        }
    }

    fn join(&self, question: Q) -> oneshot::Receiver<Answer<A>> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.len() == waiting.capacity() {
            waiting.retain(|asked| !asked.tell.is_closed());
        }
        waiting.push(Asked { question, tell });
        told
    }

    /// Those who waited longest. Whoever has gone meanwhile is left out.
    fn next(&self) -> (Vec<Q>, Vec<oneshot::Sender<Answer<A>>>) {
        let mut waiting = self.waiting();
        waiting.retain(|asked| !asked.tell.is_closed());
        let count = waiting.len().min(TOGETHER_MAX);
        let asked = waiting.drain(..count);
        asked.map(|asked| (asked.question, asked.tell)).unzip()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Asked<Q, A>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells each their answer; a failure is everybody's. Whoever is not told asks again.
fn share<A>(answers: Answer<Vec<A>>, tell: Vec<oneshot::Sender<Answer<A>>>) {
    match answers {
        Ok(answers) => {
            for (tell, answer) in tell.into_iter().zip(answers) {
                // Who has gone needs no answer.
                let _gone = tell.send(Ok(answer));
            }
        }
        Err(error) => {
            for tell in tell {
                let _gone = tell.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use futures_util::poll;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// A database that takes its time, and counts how often it was asked.
    #[derive(Default)]
    struct Slow {
        asked: AtomicUsize,
    }

    impl Slow {
        async fn answer(&self, questions: Vec<usize>) -> Answer<Vec<(usize, usize)>> {
            let nth = self.asked.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
            Ok(questions.into_iter().map(|question| (question, nth)).collect())
        }
    }

    fn unavailable() -> StoreError {
        StoreError::Unavailable {
            retry_after: Duration::from_secs(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_answered_by_few_questions_and_each_gets_their_own_answer() {
        let (crowd, slow) = (Crowd::default(), Slow::default());
        let asking = (0..2_000).map(|question| crowd.ask(question, |questions| slow.answer(questions)));
        for (question, answer) in join_all(asking).await.into_iter().enumerate() {
            assert_eq!(answer.unwrap().0, question);
        }
        let asked = slow.asked.load(Ordering::Relaxed);
        assert!(asked <= 2_000 / TOGETHER_MAX + 1, "asked {asked} times");
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_older_than_its_question() {
        let (crowd, slow) = (Crowd::default(), Slow::default());
        let first = crowd.ask(1, |questions| slow.answer(questions));
        let later = async {
            sleep(Duration::from_millis(5)).await;
            crowd.ask(2, |questions| slow.answer(questions)).await
        };
        let (first, later) = tokio::join!(first, later);
        assert_eq!((first.unwrap(), later.unwrap()), ((1, 0), (2, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_the_others_may_go() {
        let (crowd, slow) = (Arc::new(Crowd::default()), Slow::default());
        let gone = timeout(
            Duration::from_millis(5),
            crowd.ask(1, |questions| slow.answer(questions)),
        );
        let stays = crowd.ask(2, |questions| slow.answer(questions));
        let (gone, stays) = tokio::join!(gone, stays);
        assert!(gone.is_err());
        assert_eq!(stays.unwrap().0, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asked_and_went_takes_no_room() {
        let crowd: Crowd<usize, usize> = Crowd::default();
        let hung = crowd.ask(0, |_| pending());
        let coming_and_going = async {
            for question in 1..10_000 {
                assert!(poll!(pin!(crowd.ask(question, |_| pending()))).is_pending());
            }
        };
        tokio::select! {
            biased;
            _ = hung => {}
            () = coming_and_going => {}
        }
        let waiting = crowd.waiting();
        assert!(waiting.capacity() < 100, "room for {}", waiting.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_everybodys_and_the_next_question_is_asked_again() {
        let crowd: Crowd<usize, usize> = Crowd::default();
        let asking = (0..3).map(|question| {
            crowd.ask(question, |_| async {
                sleep(Duration::from_millis(10)).await;
                Err(unavailable())
            })
        });
        assert!(join_all(asking).await.iter().all(Result::is_err));
        let answer = crowd.ask(7, |questions| async { Ok(questions) }).await;
        assert_eq!(answer.unwrap(), 7);
    }
}
