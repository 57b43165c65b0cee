//! Sending what waits.

use std::rc::Rc;

use broker_core::{CloseReason, ConnectionKey, Outgoing};
use tokio::task::spawn_local;

use super::Worker;
use crate::link::Link;
use crate::stream::Written;

/// Bytes gathered for one write.
const ROOM_BYTES: usize = 64 * 1024;

/// Writes to one connection before others have their turn: a client may be sent messages as fast as it takes them.
const ROUNDS_MAX: usize = 16;

/// Buffers kept for the next flush, and the size up to which they are kept.
const SPARE_BUFFERS: usize = 16;
const SPARE_BUFFER_BYTES: usize = 256 * 1024;

impl Worker {
    /// Sets the time for a batch of work.
    pub(super) fn start_batch(&self) {
        let now_ms = self.broker.now_ms();
        self.context.borrow_mut().set_now_ms(now_ms);
    }

    /// Lists the connections that a batch of work has given something to send, here and on other workers.
    pub(super) fn finish_batch(&self) {
        let scheduled = {
            let mut context = self.context.borrow_mut();
            if context.has_records() {
                self.flush_wanted.notify_one(); // behind what is ready now, in one go
            }
            if !context.has_scheduled() {
                return;
            }
            context.take_scheduled()
        };
        if self.mailboxes.len() == 1 {
            scheduled.iter().for_each(|key| self.list_key(*key));
        } else {
            self.distribute(&scheduled);
        }
        self.context.borrow_mut().reuse_scheduled(scheduled);
    }

    fn distribute(&self, scheduled: &[ConnectionKey]) {
        for worker in 0..self.mailboxes.len() as u16 {
            let mut keys = scheduled.iter().filter(|key| key.worker == worker).peekable();
            if worker == self.index {
                keys.for_each(|key| self.list_key(*key));
            } else if keys.peek().is_some() {
                self.mailboxes.of(worker).put(|mail| mail.flush.extend(keys));
            }
        }
    }

    pub(super) fn list_key(&self, key: ConnectionKey) {
        if let Some(link) = self.links.borrow().get(key.slot as usize).filter(|link| link.key == key) {
            self.list(link);
        }
    }

    /// Has a connection flushed once what is ready now has been read.
    pub(super) fn list(&self, link: &Rc<Link>) {
        let mut state = link.state.borrow_mut();
        if state.listed || state.closed {
            return;
        }
        state.listed = true;
        drop(state);
        let mut to_flush = self.to_flush.borrow_mut();
        to_flush.push(Rc::clone(link));
        if to_flush.len() == 1 {
            self.flush_wanted.notify_one();
        }
    }

    /// Flushes when something is listed. It is woken by who lists, and so runs behind every task that is ready.
    pub(super) async fn run_flusher(self: Rc<Self>) {
        loop {
            self.flush_wanted.notified().await;
            self.start_batch();
            self.flush_all();
            self.commit();
            self.finish_batch(); // what one client cannot take may go to another
            if !self.to_flush.borrow().is_empty() {
                tokio::task::yield_now().await; // others have their turn before what is left
            }
        }
    }

    /// Has everything committed that was written down since the last time.
    pub(super) fn commit(&self) {
        let context = &*self.context.borrow();
        if context.has_records() {
            self.broker.commit(context, self.index);
        }
    }

    /// Flushes every connection that is listed.
    pub(super) fn flush_all(self: &Rc<Self>) {
        let mut links = std::mem::take(&mut *self.to_flush.borrow_mut());
        for link in links.drain(..) {
            self.flush_link(&link);
        }
        let mut to_flush = self.to_flush.borrow_mut();
        if to_flush.is_empty() {
            *to_flush = links; // for its memory
        } else {
            self.flush_wanted.notify_one();
        }
    }

    /// Writes all that a connection has to send, however much that is, as far as its socket takes it.
    pub(super) fn flush_last(self: &Rc<Self>, link: &Rc<Link>) {
        /// A thousand megabytes: more is added while we write.
        const TURNS_MAX: usize = 1024;
        for _ in 0..TURNS_MAX {
            self.flush_link(link);
            if !link.state.borrow().listed {
                return;
            }
        }
    }

    /// Writes what a connection has to send, as far as its socket takes it; lists it again when that is very much.
    pub(super) fn flush_link(self: &Rc<Self>, link: &Rc<Link>) {
        let mut left = false;
        let broken = {
            let state = &mut *link.state.borrow_mut();
            state.listed = false;
            if state.closed || state.draining.is_some() {
                return;
            }
            let mut out = std::mem::take(&mut state.out);
            if out.is_unused() {
                out = Outgoing::with_buffer(self.spare_buffers.borrow_mut().pop().unwrap_or_default());
            }
            let mut sent = 0;
            let mut rounds = 0;
            let broken = loop {
                rounds += 1;
                let more = state.connection.fill(ROOM_BYTES, &mut self.context.borrow_mut(), &mut out);
                match link.writer.write(&mut out) {
                    Ok((Written::All, count)) => {
                        sent += count;
                        left = more && rounds == ROUNDS_MAX;
                        if !more || left {
                            break false;
                        }
                    }
                    Ok((Written::Blocked, count)) => {
                        sent += count;
                        state.connection.block();
                        state.blocked_len = out.len();
                        let task = spawn_local(Rc::clone(self).drain(Rc::clone(link)));
                        state.draining = Some(task.abort_handle());
                        break false;
                    }
                    Err(_) => break true,
                }
            };
            state.connection.count_sent_bytes(sent as u64, &self.context.borrow());
            if out.is_empty() {
                self.keep_buffer(out);
            } else {
                state.out = out;
            }
            broken
        };
        self.await_journal(link);
        if broken {
            self.close(link, CloseReason::TcpClosed);
            self.finish_batch();
        } else if left {
            self.list(link);
        }
    }

    fn keep_buffer(&self, out: Outgoing) {
        let buffer = out.into_buffer();
        let mut spare = self.spare_buffers.borrow_mut();
        if spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BUFFER_BYTES {
            spare.push(buffer);
        }
    }

    /// Waits until the socket takes more, as often as it needs.
    async fn drain(self: Rc<Self>, link: Rc<Link>) {
        loop {
            let result = match link.writable().await {
                Ok(()) => {
                    let state = &mut *link.state.borrow_mut();
                    link.writer.write(&mut state.out).map_err(|_| CloseReason::TcpClosed)
                }
                Err(reason) => Err(reason),
            };
            match result {
                Ok((written, count)) => {
                    self.start_batch();
                    let state = &mut *link.state.borrow_mut();
                    state.connection.count_sent_bytes(count as u64, &self.context.borrow());
                    if state.paused && count > 0 {
                        link.last_seen.set(self.wheel.borrow().now()); // it reads, and we do not
                    }
                    if written == Written::All {
                        state.draining = None;
                        state.blocked_len = 0;
                    }
                }
                Err(reason) => {
                    link.state.borrow_mut().draining = None;
                    self.start_batch();
                    self.close(&link, reason);
                    self.finish_batch();
                    return;
                }
            }
            link.wake_reader();
            if link.state.borrow().draining.is_none() {
                self.flush_link(&link);
                self.finish_batch();
                return;
            }
        }
    }
}
