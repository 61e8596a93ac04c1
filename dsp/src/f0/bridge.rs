//! F0 that goes on where there is no voice.

/// Fills the unvoiced stretches (0) of an F0 line by straight lines in Hz between their ends. The frame before the line
/// has `before_hz` (0 = none was voiced); the first stretch without a beginning takes what follows, the last holds what
/// was. A line without voice before or in it stays as it is.
pub fn bridge_unvoiced(f0_hz: &mut [f32], before_hz: f32) {
    let mut before = (-1i64, before_hz);
    let mut n = 0;
    while n < f0_hz.len() {
        if f0_hz[n] > 0.0 {
            before = (n as i64, f0_hz[n]);
            n += 1;
            continue;
        }
        let next = (n..f0_hz.len()).find(|&m| f0_hz[m] > 0.0);
        let end = next.unwrap_or(f0_hz.len());
        let after = next.map_or(before.1, |m| f0_hz[m]);
        let from = if before.1 > 0.0 { before.1 } else { after };
        let span = (end as i64 - before.0) as f32;
        for (place, value) in f0_hz.iter_mut().enumerate().take(end).skip(n) {
            let share = (place as i64 - before.0) as f32 / span;
            *value = from + share * (after - from);
        }
        n = end;
    }
}

#[cfg(test)]
mod tests {
    use super::bridge_unvoiced;

    #[test]
    fn unvoiced_stretches_are_bridged() {
        let mut line = [0.0, 100.0, 0.0, 0.0, 0.0, 200.0, 0.0];
        bridge_unvoiced(&mut line, 0.0);
        assert_eq!(line, [100.0, 100.0, 125.0, 150.0, 175.0, 200.0, 200.0]);
        let mut begun = [0.0, 100.0];
        bridge_unvoiced(&mut begun, 200.0);
        assert_eq!(begun, [150.0, 100.0]);
        let mut silent = [0.0; 3];
        bridge_unvoiced(&mut silent, 0.0);
        assert_eq!(silent, [0.0; 3]);
        bridge_unvoiced(&mut silent, 80.0);
        assert_eq!(silent, [80.0; 3]);
    }
}
