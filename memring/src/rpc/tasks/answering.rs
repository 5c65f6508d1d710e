//! Answers that tasks owe: whatever becomes of the task, the caller hears of it, and once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use super::super::error::CallError;
use super::super::pending::Question;
use super::super::sending::NotSent;
use super::super::service::Service;
use super::super::session::not_sent;
use super::super::shared::Shared;
use super::super::table::Job;
use super::super::wire::Code;
use super::super::worker;

/// An answer on its way out. If it is dropped there, the caller is told that there is none.
pub(crate) struct Answering {
    shared: Arc<Shared>,
    call: u64,
    /// `None` while it is encoded.
    question: Option<Question>,
}

impl Answering {
    /// An answer to this call, which has left its place.
    ///
    /// # Errors
    ///
    /// Why it is not sent. The caller was not told yet.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        call: u64,
        begin: impl FnOnce() -> Result<Question, NotSent>,
    ) -> Result<Self, CallError> {
        let mut this = Self { shared: Arc::clone(shared), call, question: None };
        let begun = begin();
        let (question, outcome) = match begun {
            Ok(question) => (question, Ok(())),
            Err(why) => (Question::Over, Err(not_sent(why))),
        };
        this.question = Some(question);
        outcome.map(|()| this)
    }

    /// Sends it when there is room.
    ///
    /// # Errors
    ///
    /// Why it was not sent. The caller was not told yet.
    pub(crate) async fn send(mut self) -> Result<(), CallError> {
        poll_fn(|context| {
            let Some(question) = &mut self.question else { return Poll::Ready(Ok(())) };
            let sent = question.poll(&self.shared, context);
            if sent.is_ready() {
                question.cancel(&self.shared); // if it was not sent
            }
            sent
        })
        .await
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let code = match &self.question {
            None => Code::Panicked, // as it was encoded
            Some(Question::Departing(_)) => Code::Dropped,
            Some(_) => return,
        };
        if let Some(question) = &mut self.question {
            question.cancel(&self.shared);
        }
        self.shared.end_call_sometime(self.call, code, "");
    }
}

/// A call that a thread is to run, for a task. If that never comes to it, the caller is told.
pub(crate) struct Errand {
    shared: Arc<Shared>,
    job: Job,
    was_run: bool,
}

impl Errand {
    pub(crate) fn new(shared: &Arc<Shared>, job: Job) -> Self {
        Self { shared: Arc::clone(shared), job, was_run: false }
    }

    /// Runs it in this thread, which must not wait for room. What is to be sent when there is.
    pub(crate) fn run(mut self, service: &Arc<dyn Service>) -> Option<Answering> {
        let answering = worker::answer_job_later(&self.shared, &self.job, service);
        self.was_run = true;
        answering
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(place) = self.job.place.filter(|_| !self.was_run) {
            let call = self.job.packet.call;
            let code = if thread::panicking() { Code::Panicked } else { Code::Dropped };
            self.shared.running.at(place).finish_if(call);
            self.shared.end_call_sometime(call, code, "");
        }
    }
}
