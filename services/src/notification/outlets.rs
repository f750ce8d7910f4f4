//! By which ways letters go, and with what.

use super::outlet::Outlet;
use super::push::{Push, Reach};
use super::twilio::Twilio;

/// What there is for each channel.
pub struct Outlets {
    /// Mails.
    pub mail: Outlet,
    /// Text messages; without it nobody gets one.
    pub sms: Option<Twilio>,
    /// Messages to browsers, for customers who gave one.
    pub push: Push,
}

impl Outlets {
    /// What an operator should know at start, line by line.
    pub fn notices(&self) -> Vec<String> {
        let sms = self.sms.iter().map(|twilio| format!("notification: texts go to {}", twilio.base()));
        let here = "notification: push messages may go to this machine, which is for tests".to_owned();
        let push = (self.push.reach() == Reach::Loopback).then_some(here);
        std::iter::once(self.mail.notice()).chain(sms).chain(push).collect()
    }
}
