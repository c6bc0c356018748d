//! What was seen lately: a picture that is shown again, as in every turn of a conversation, is not looked at again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use blake3::{Hash, Hasher};
use sensorium_media::Picture;
use sensorium_model::domain::Distance;
use sensorium_nn::prelude::*;

/// What a tile became.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// The language model's tokens, `[1, Q, D]`.
    pub tokens: Tensor<3>,
    /// How far it lies from the training set's, where that is known.
    pub distance: Option<Distance>,
}

/// Tiles that were seen, the oldest first, within so many bytes.
#[derive(Debug, Default)]
pub(crate) struct FeatureCache {
    kept: Mutex<VecDeque<(Hash, Tile)>>,
    budget: usize,
}

impl FeatureCache {
    /// Nothing yet, and never more than so many bytes.
    pub fn within(budget: usize) -> Self {
        Self { kept: Mutex::default(), budget }
    }

    /// What each tile became: the missing ones by `see`, which is shown them together. Those of one salt are of no use
    /// to another.
    pub fn tiles(
        &self,
        salt: &str,
        tiles: Vec<Picture>,
        see: impl FnOnce(&[Picture]) -> Vec<Tile>,
    ) -> Vec<Tile> {
        if self.budget == 0 {
            return see(&tiles);
        }
        let keys: Vec<Hash> = tiles.iter().map(|tile| key(salt, tile)).collect();
        let found: Vec<Option<Tile>> = keys.iter().map(|key| self.find(key)).collect();
        let unseen = tiles.into_iter().zip(&found).filter(|(_, found)| found.is_none());
        let unseen: Vec<Picture> = unseen.map(|(tile, _)| tile).collect();
        let mut seen = if unseen.is_empty() { Vec::new() } else { see(&unseen) }.into_iter();
        let tile = |(key, found): (Hash, Option<Tile>)| {
            found.or_else(|| seen.next().inspect(|tile| self.keep(key, tile)))
        };
        keys.into_iter().zip(found).filter_map(tile).collect()
    }

    /// As [`tiles`](Self::tiles), of one picture.
    pub fn tile(&self, salt: &str, picture: &Picture, see: impl FnOnce() -> Tile) -> Tile {
        if self.budget == 0 {
            return see();
        }
        let key = key(salt, picture);
        self.find(&key).unwrap_or_else(|| {
            let tile = see();
            self.keep(key, &tile);
            tile
        })
    }

    fn find(&self, key: &Hash) -> Option<Tile> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == key)?;
        // It is of use: it stays longer than others.
        let entry = kept.remove(at)?;
        let tile = entry.1.clone();
        kept.push_back(entry);
        Some(tile)
    }

    fn keep(&self, key: Hash, tile: &Tile) {
        let bytes = |tile: &Tile| tile.tokens.dims().iter().product::<usize>() * size_of::<f32>();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key, tile.clone()));
        let mut held: usize = kept.iter().map(|(_, tile)| bytes(tile)).sum();
        while held > self.budget {
            held -= kept.pop_front().map_or(held, |(_, tile)| bytes(&tile));
        }
    }
}

/// Of a tile's shape and pixels, and of whom it is shown by.
fn key(salt: &str, tile: &Picture) -> Hash {
    let mut hasher = Hasher::new();
    let lengths = [salt.len() as u64, tile.width.into(), tile.height.into()];
    for length in lengths {
        hasher.update(&u64::to_le_bytes(length));
    }
    hasher.update(salt.as_bytes()).update(&tile.pixels).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_looked_at_once_for_each_shape_and_each_salt() {
        let tile = |width: u32, height: u32, first: u8| {
            let mut pixels = vec![7; (width * height * 3) as usize];
            pixels[0] = first;
            Picture::new(width, height, pixels).expect("a picture")
        };
        let device = Device::flex();
        let looks = std::cell::Cell::new(0);
        let cache = FeatureCache::within(1 << 10);
        let ask = |salt: &str, tiles: Vec<Picture>| -> Vec<f32> {
            let see = |tiles: &[Picture]| {
                looks.set(looks.get() + tiles.len());
                let one = |tile: &Picture| {
                    let value = f32::from(tile.pixels[0]);
                    let tokens =
                        Tensor::from_data(TensorData::new(vec![value], [1, 1, 1]), &device);
                    Tile { tokens, distance: None }
                };
                tiles.iter().map(one).collect()
            };
            let tiles = cache.tiles(salt, tiles, see);
            tiles.into_iter().flat_map(|tile| sensorium_nn::params::read(tile.tokens)).collect()
        };
        assert_eq!(ask("a", vec![tile(2, 1, 1), tile(2, 1, 2)]), [1.0, 2.0]);
        assert_eq!(ask("a", vec![tile(2, 1, 2), tile(2, 1, 3), tile(2, 1, 1)]), [2.0, 3.0, 1.0]);
        assert_eq!(looks.get(), 3);
        ask("b", vec![tile(2, 1, 1)]);
        assert_eq!(looks.get(), 4, "another's");
        ask("a", vec![tile(1, 2, 1)]);
        assert_eq!(looks.get(), 5, "the same bytes in another shape");
    }
}
