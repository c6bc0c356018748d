//! Whose turn it is: clients take turns, whatever each has sent.

use std::collections::VecDeque;

/// Waiting things of several clients; each client's keep their order.
#[derive(Debug)]
pub(super) struct Fair<T> {
    clients: VecDeque<(String, VecDeque<T>)>,
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self { clients: VecDeque::new() }
    }
}

impl<T> Fair<T> {
    /// Puts one behind its client's others.
    pub fn push(&mut self, client: &str, thing: T) {
        match self.clients.iter_mut().find(|(name, _)| name == client) {
            Some((_, waiting)) => waiting.push_back(thing),
            None => self.clients.push_back((client.to_owned(), [thing].into())),
        }
    }

    /// The next: of the client who has waited for the longest time.
    pub fn pop(&mut self) -> Option<T> {
        let (client, mut waiting) = self.clients.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.clients.push_back((client, waiting));
        }
        next
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_much_waits_like_who_sends_little() {
        let mut fair = Fair::default();
        for (client, thing) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
            fair.push(client, thing);
        }
        let order: Vec<i32> = std::iter::from_fn(|| fair.pop()).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
        assert!(fair.is_empty());
    }
}
