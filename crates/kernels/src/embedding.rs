//! Rows of a table by number.

use crate::parallel::{Pieces, chunked, for_each, rows_per_task};

/// `y[i] = table[ids[i]]`: `table [vocab, d]`, `y [ids, d]`.
pub fn embedding(ids: &[i32], d: usize, table: &[f32], y: &mut [f32]) {
    assert_eq!(y.len(), ids.len() * d, "embedding: y of {} rows of {d}", ids.len());
    if d == 0 {
        return;
    }
    assert_eq!(table.len() % d, 0, "embedding: table of rows of {d}");
    check(ids, table.len() / d);
    chunked!(y.len(), rows_per_task(d); [ids * 1], [y * d] => |ids: &[i32], y: &mut [f32]| {
        for (&id, y) in ids.iter().zip(y.chunks_exact_mut(d)) {
            let start = id as usize * d;
            y.copy_from_slice(&table[start..start + d]);
        }
    });
}

/// Gradient of [`embedding`]: `dtable [vocab, d]` is overwritten with the sums of the rows of
/// `dy [ids, d]`, each in the order of `ids`.
pub fn embedding_backward(ids: &[i32], d: usize, vocab: usize, dy: &[f32], dtable: &mut [f32]) {
    assert_eq!(dy.len(), ids.len() * d, "embedding_backward: dy of {} rows of {d}", ids.len());
    assert_eq!(dtable.len(), vocab * d, "embedding_backward: dtable of {vocab} rows of {d}");
    check(ids, vocab);
    if d == 0 {
        return;
    }
    let (starts, order) = by_id(ids, vocab);
    let task = rows_per_task(d);
    let work = dtable.len().max(dy.len());
    let fill = |first: usize, dtable: &mut [f32]| {
        for (id, sum) in (first..).zip(dtable.chunks_exact_mut(d)) {
            sum.fill(0.0);
            for &row in &order[starts[id]..starts[id + 1]] {
                let dy = &dy[row * d..(row + 1) * d];
                sum.iter_mut().zip(dy).for_each(|(sum, &dy)| *sum += dy);
            }
        }
    };
    let pieces = Pieces::new(dtable, task * d);
    for_each(pieces.count(), work, |i| {
        // SAFETY: every task has its own number, and so its own piece.
        fill(i * task, unsafe { pieces.get_mut(i) });
    });
}

/// Positions sorted by id (counting sort, stable): those of `id` are `order[starts[id]..starts[id + 1]]`.
fn by_id(ids: &[i32], vocab: usize) -> (Vec<usize>, Vec<usize>) {
    let mut starts = vec![0; vocab + 1];
    for &id in ids {
        starts[id as usize + 1] += 1;
    }
    for id in 0..vocab {
        starts[id + 1] += starts[id];
    }
    let mut next = starts.clone();
    let mut order = vec![0; ids.len()];
    for (row, &id) in ids.iter().enumerate() {
        order[next[id as usize]] = row;
        next[id as usize] += 1;
    }
    (starts, order)
}

fn check(ids: &[i32], vocab: usize) {
    for &id in ids {
        let inside = usize::try_from(id).is_ok_and(|id| id < vocab);
        assert!(inside, "embedding: id {id} is not in a table of {vocab} rows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_all_pools, random};

    #[test]
    fn rows_are_copied_and_gradients_gathered() {
        for (n, vocab, d) in [(0, 3, 2), (1, 1, 1), (9, 4, 3), (3000, 50, 17)] {
            let ids: Vec<i32> = (0..n).map(|i| (i * i % vocab) as i32).collect();
            let (table, dy) = (random(1, vocab * d), random(2, n * d));
            let (mut y, mut dtable) = (vec![0.0; n * d], vec![f32::NAN; vocab * d]);
            embedding(&ids, d, &table, &mut y);
            embedding_backward(&ids, d, vocab, &dy, &mut dtable);
            let mut want = vec![0.0; vocab * d];
            for (i, &id) in ids.iter().enumerate() {
                let id = id as usize;
                assert_eq!(y[i * d..(i + 1) * d], table[id * d..(id + 1) * d]);
                (0..d).for_each(|j| want[id * d + j] += f64::from(dy[i * d + j]));
            }
            assert_close(&dtable, &want, 1e-5);
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let ids: Vec<i32> = (0..4000).map(|i| i * 31 % 97).collect();
        let dy = random(2, 4000 * 64);
        assert_same_on_all_pools(|| {
            let mut dtable = vec![0.0; 97 * 64];
            embedding_backward(&ids, 64, 97, &dy, &mut dtable);
            dtable
        });
    }

    #[test]
    #[should_panic(expected = "id -1 is not in a table of 2 rows")]
    fn an_id_outside_is_refused() {
        embedding(&[-1], 1, &[0.0; 2], &mut [0.0]);
    }
}
