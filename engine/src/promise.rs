//! Numbers that another thread will have made: whoever passes them on need not wait for them.

use std::sync::{Arc, OnceLock};

use crate::error::EngineError;

type Made = Result<Vec<f32>, EngineError>;

/// Numbers that may not be there yet.
#[derive(Debug, Clone)]
pub struct Promise(Source);

#[derive(Debug, Clone)]
enum Source {
    /// Numbers somebody makes.
    Made(Arc<OnceLock<Made>>),
    /// On the line from the first to the second, so far.
    Between(Arc<(Promise, Promise, f32)>),
}

/// The duty to keep a promise. When it is dropped, whoever waits is told that nobody will.
#[derive(Debug)]
pub(crate) struct Keeper(Arc<OnceLock<Made>>);

impl Promise {
    /// A promise and the duty to keep it.
    pub(crate) fn new() -> (Self, Keeper) {
        let cell = Arc::new(OnceLock::new());
        (Self(Source::Made(Arc::clone(&cell))), Keeper(cell))
    }

    /// Numbers that are there.
    pub(crate) fn kept(numbers: Vec<f32>) -> Self {
        Self(Source::Made(Arc::new(OnceLock::from(Ok(numbers)))))
    }

    /// What lies between these numbers (`share` 0) and as many others (1).
    pub(crate) fn towards(&self, other: &Self, share: f32) -> Self {
        if share >= 1.0 {
            return other.clone();
        }
        let between = Arc::new((self.clone(), other.clone(), share));
        Self(Source::Between(between))
    }

    /// Waits for the numbers and writes them to `numbers`, as many as both have.
    ///
    /// # Errors
    /// Why whoever was to make them could not.
    pub(crate) fn read(&self, numbers: &mut [f32]) -> Result<(), EngineError> {
        match &self.0 {
            Source::Made(cell) => {
                let made = cell.wait().as_ref().map_err(EngineError::clone)?;
                for (number, &made) in numbers.iter_mut().zip(made) {
                    *number = made;
                }
            }
            Source::Between(between) => {
                let (from, to, share) = &**between;
                let mut ends = vec![0.0; numbers.len()];
                from.read(numbers)?;
                to.read(&mut ends)?;
                for (number, &end) in numbers.iter_mut().zip(&ends) {
                    *number += share * (end - *number);
                }
            }
        }
        Ok(())
    }
}

impl Keeper {
    /// Keeps the promise, or says why it cannot be kept.
    pub fn keep(self, made: Made) {
        // It is the only one that writes, and is gone after that.
        let _ = self.0.set(made);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let gone = || Err(EngineError::Panic("content was given up".to_owned()));
        self.0.get_or_init(gone);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_promises_is_found_once_they_are_kept() {
        let (first, keeper) = Promise::new();
        let second = Promise::kept(vec![3.0, -1.0]);
        let quarter = first.towards(&second, 0.25);
        let half_of_that = quarter.towards(&second, 0.5);
        let reader = std::thread::spawn(move || {
            let mut numbers = [0.0; 2];
            half_of_that.read(&mut numbers).unwrap();
            numbers
        });
        keeper.keep(Ok(vec![1.0, 1.0]));
        assert_eq!(reader.join().unwrap(), [2.25, -0.25]);
        let mut numbers = [0.0; 2];
        first.towards(&second, 1.0).read(&mut numbers).unwrap();
        assert_eq!(numbers, [3.0, -1.0]);
    }

    #[test]
    fn a_promise_nobody_will_keep_is_an_error_and_no_wait() {
        let (promise, keeper) = Promise::new();
        drop(keeper);
        assert!(promise.read(&mut [0.0]).is_err());
    }
}
