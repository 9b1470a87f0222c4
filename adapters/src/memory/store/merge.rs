//! Several ordered lists as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter;

/// Walks several lists, each in order of `key`, as one list in that order. A step costs the logarithm of the
/// number of lists, however long they are.
pub(super) fn merge<L, K>(mut lists: Vec<L>, key: impl Fn(&L::Item) -> K) -> impl Iterator<Item = L::Item>
where
    L: Iterator,
    K: Ord,
{
    let mut heads: Vec<_> = lists.iter_mut().map(Iterator::next).collect();
    let mut order: BinaryHeap<_> = heads
        .iter()
        .enumerate()
        .filter_map(|(list, head)| head.as_ref().map(|head| Reverse((key(head), list))))
        .collect();
    iter::from_fn(move || {
        let Reverse((_, list)) = order.pop()?;
        let next = lists[list].next();
        order.extend(next.as_ref().map(|next| Reverse((key(next), list))));
        std::mem::replace(&mut heads[list], next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_one_in_order() {
        let lists = vec![vec![1, 4, 9], vec![], vec![2, 3, 10], vec![0]];
        let lists = lists.into_iter().map(Vec::into_iter).collect();
        assert!(merge(lists, |n| *n).eq([0, 1, 2, 3, 4, 9, 10]));
    }
}
