//! The task of a lane: sends, waits, settles; ends when the lane has been empty for a while.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::request::{Answer, Verdict, send};
use super::set::LaneSet;
use super::state::{Lane, Step, StepContext};
use crate::action::ActionRuntime;

/// How long a task waits for rows before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// Runs lane `index` of `set` until it is halted or has nothing left to do, or the engine cuts it off.
pub(crate) async fn run(action: Arc<ActionRuntime>, set: Arc<LaneSet>, index: usize) {
    let lane = set.lane(index);
    let cut_off = action.services().cut_off.clone();
    if cut_off.run_until_cancelled(work(&action, lane)).await.is_none() {
        lane.abandon();
    }
}

async fn work(action: &Arc<ActionRuntime>, lane: &Lane) {
    let mut requests = FuturesUnordered::new();
    let mut tired = false;
    loop {
        let gate = action.gate();
        let changed = gate.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let channel = action.channel();
        let options = action.options();
        let now = Instant::now();
        let (step, ended) = lane.next_step(&StepContext {
            now,
            options: &options,
            gate: &gate,
            has_channel: channel.is_some(),
            keeps_order: action.keeps_order(),
            requests: requests.len(),
            draining: action.services().is_draining(),
            tired,
        });
        action.finish(ended, now);
        let until = match (step, channel) {
            (Step::Exit, _) => return,
            (Step::Send(picked, permit), Some(channel)) => {
                tired = false;
                requests.push(send(channel, picked.rows, permit, now));
                continue;
            }
            (Step::Send(..), None) => unreachable!("a lane sends only when it has a channel"),
            (Step::Sleep(until), _) => until,
        };
        let idle = requests.is_empty() && until.is_none();
        let until = until.unwrap_or_else(|| now + if idle { IDLE } else { Duration::from_secs(3600) });
        tokio::select! {
            biased;
            Some(answer) = requests.next(), if !requests.is_empty() => settle(action, lane, answer),
            () = lane.woken() => tired = false,
            () = changed => {}
            () = tokio::time::sleep_until(until) => tired = idle,
        }
    }
}

fn settle(action: &Arc<ActionRuntime>, lane: &Lane, answer: Answer) {
    let now = Instant::now();
    let options = action.options();
    let verdict = answer.verdict();
    let Answer { rows, outcomes, fault, permit } = answer;
    if fault {
        tracing::error!(action = %action.id(), outcome = ?outcomes.first(), "fault in a connector");
    }
    let services = action.services();
    if services.traces.any() {
        let now_ms = services.clock.now_ms();
        for ((_, row), outcome) in rows.iter().zip(&outcomes) {
            services.traces.answered(action.id(), &row.delivery, outcome, now_ms);
        }
    }
    let ended = lane.settle(rows, outcomes, fault, &options, now);
    match verdict {
        Verdict::Alive => permit.answered(),
        Verdict::Down(after) => permit.failed(options.backoff, after, now),
        Verdict::Unknown => drop(permit),
    }
    action.finish(ended, now);
}
