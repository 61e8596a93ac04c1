//! `--share NAME=SHARE`, as several verbs have it.

use crate::config::WrongArgument;

/// Names and shares, in the order given; `what` is what is named, in capitals.
///
/// # Errors
/// One is not a name, `=` and a finite number of 0 or more.
pub(super) fn shares(given: &[String], what: &str) -> Result<Vec<(String, f32)>, WrongArgument> {
    given
        .iter()
        .map(|text| {
            text.rsplit_once('=')
                .and_then(|(name, share)| Some((name.to_owned(), share.parse::<f32>().ok()?)))
                .filter(|(_, share)| share.is_finite() && *share >= 0.0)
                .ok_or_else(|| {
                    let why = format!("--share {text}: expected {what}=SHARE, a number from 0 on");
                    WrongArgument(why)
                })
        })
        .collect()
}
