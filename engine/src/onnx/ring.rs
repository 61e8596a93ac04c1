//! Rows that go over the oldest ones of a carried tensor.

/// Writes the rows `new` `[1, heads, n, width]` over those of `ring` `[1, heads, rows, width]` from `row` on and around; of more than
/// fit the last. Returns the row after them.
///
/// Nothing is written when `shape` is no ring's or has nothing in it.
pub fn write(ring: &mut [f32], new: &[f32], shape: &[usize], row: usize) -> usize {
    let &[_, heads, rows, width] = shape else {
        return row;
    };
    if heads == 0 || rows == 0 || width == 0 {
        return row;
    }
    let per_head = new.len() / heads;
    let count = per_head / width;
    let left_out = count.saturating_sub(rows);
    for (ring, new) in ring
        .chunks_exact_mut(rows * width)
        .zip(new.chunks_exact(per_head.max(1)))
    {
        let mut place = (row + left_out) % rows;
        let mut rest = &new[left_out * width..];
        while !rest.is_empty() {
            let fits = rest.len().min((rows - place) * width);
            ring[place * width..][..fits].copy_from_slice(&rest[..fits]);
            rest = &rest[fits..];
            place = 0;
        }
    }
    (row + count) % rows
}

#[cfg(test)]
mod tests {
    use super::write;

    /// Two heads of five rows of two numbers, which say head and frame.
    fn rows(frames: std::ops::Range<usize>) -> Vec<f32> {
        (0..2)
            .flat_map(|head| frames.clone().map(move |frame| (head, frame)))
            .flat_map(|(head, frame)| [head as f32, frame as f32])
            .collect()
    }

    #[test]
    fn every_frame_is_where_its_number_says() {
        let shape = [1, 2, 5, 2];
        let mut ring = vec![-1.0; 20];
        let (mut row, mut next) = (0, 0);
        for count in [2, 1, 4, 0, 5, 13, 3] {
            row = write(&mut ring, &rows(next..next + count), &shape, row);
            next += count;
            assert_eq!(row, next % 5);
            for frame in next.saturating_sub(5)..next {
                for head in 0..2 {
                    let at = (head * 5 + frame % 5) * 2;
                    assert_eq!(ring[at..at + 2], [head as f32, frame as f32], "{next}");
                }
            }
        }
    }
}
