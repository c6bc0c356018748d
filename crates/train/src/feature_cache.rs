//! `feature_cache = "DIR"` in a recipe: what a frozen image encoder sees in a picture, made once and kept.
//!
//! ```text
//! DIR/ENCODER.f16   a record for each picture: BLAKE3 of its pixels as the encoder reads them (32 bytes),
//!                   features [N, E] in f16
//! ```
//! `ENCODER` is a hash of the encoder's weights, of what is read of it and of the precision. Features are
//! rounded to f16 when they are made, too: a step has the same bits whether its pictures were seen before or not.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};
use sensorium_data::Config;
use sensorium_encoder::image::Vit;
use sensorium_flow::{Input, Modality};
use sensorium_model::llava::{Encoded, Llava};
use sensorium_model::weights;
use sensorium_nn::pack::Kind;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::batch::images;
use crate::error::{Result, TrainError};
use crate::model;

/// Features of pictures that were seen.
#[derive(Debug)]
pub struct FeatureCache {
    path: PathBuf,
    file: File,
    /// Where each picture's features begin.
    places: RefCell<HashMap<Hash, u64>>,
    /// Positions and width.
    shape: [usize; 2],
    /// Height and width of pictures.
    size: [usize; 2],
    device: Device,
}

impl FeatureCache {
    /// The file in `dir` of what `vit` sees in pictures of `size`.
    ///
    /// # Errors
    /// More of the encoder than its last norm learns; pictures are augmented; the file cannot be written, or
    /// another training writes it.
    pub fn open(
        dir: &Path,
        vit: &Vit,
        data: &Config,
        size: [usize; 2],
        (precision, device): (Precision, &Device),
    ) -> Result<Self> {
        let wrong = |got: &str, hint| Err(model::config("feature_cache", got, hint));
        if params::list(vit).iter().any(|p| p.trainable && !is_after(&p.name)) {
            let hint = "leave feature_cache out where the encoder learns";
            return wrong("expected a frozen image encoder, got one that is trained", hint);
        }
        if data.augment.is_some() {
            let hint = "leave out either: no two augmented pictures are alike";
            return wrong("expected pictures as they are, got augment", hint);
        }
        fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let path = dir.join(format!("{}.f16", key(vit, precision).to_hex()));
        let blank = images(vec![0.0; 3 * size[0] * size[1]], size, device);
        let [_, n, e] = vit.before_norm(blank).dims();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(TrainError::io("open", &path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(TrainError::RunInUse { path }),
            locked => locked.map_err(io::Error::from).map_err(TrainError::io("lock", &path))?,
        }
        let places = index(&mut file, 2 * n * e).map_err(TrainError::io("read", &path))?;
        let (places, device) = (RefCell::new(places), device.clone());
        Ok(Self { path, file, places, shape: [n, e], size, device })
    }

    /// What [`Vit::before_norm`] gives of pictures `[M, 3, h, w]`: `[M, N, E]`, a constant.
    ///
    /// # Errors
    /// The file cannot be read or written, or a feature is too large for f16.
    pub fn features(&self, vit: &Vit, planes: &[f32]) -> Result<Tensor<3>> {
        let ([n, e], [height, width]) = (self.shape, self.size);
        let mut values = vec![0.0; planes.len() / (3 * height * width) * n * e];
        let pictures = planes.chunks_exact(3 * height * width);
        for (picture, values) in pictures.zip(values.chunks_exact_mut(n * e)) {
            let key = blake3::hash(&Kind::F32.quantize(picture));
            let place = self.places.borrow().get(&key).copied();
            let bytes = match place {
                Some(place) => self.read(place).map_err(TrainError::io("read", &self.path))?,
                None => self.append(key, vit, picture)?,
            };
            Kind::F16.dequantize(&bytes, values);
        }
        let device = self.device.clone().without_autodiff();
        let shape = [values.len() / (n * e), n, e];
        Ok(Tensor::from_data(TensorData::new(values, shape), &device))
    }

    fn read(&self, place: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 2 * self.shape[0] * self.shape[1]];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&self, key: Hash, vit: &Vit, picture: &[f32]) -> Result<Vec<u8>> {
        let seen = vit.before_norm(images(picture.to_vec(), self.size, &self.device));
        let bytes = Kind::F16.quantize(&read(seen));
        if Kind::F16.bad_block(&bytes).is_some() {
            let got = "expected features within the range of f16, got a larger one";
            return Err(model::config("feature_cache", got, "leave it out with this encoder"));
        }
        let mut file = &self.file;
        let mut write = || {
            let place = file.seek(SeekFrom::End(0))?;
            file.write_all(&[key.as_bytes().as_slice(), &bytes].concat())?;
            Ok(place + KEY)
        };
        let place = write().map_err(TrainError::io("write", &self.path))?;
        self.places.borrow_mut().insert(key, place);
        Ok(bytes)
    }
}

/// Bytes of a picture's hash.
const KEY: u64 = 32;

/// Where the features of each picture begin; what a killed run left unfinished is cut off.
fn index(file: &mut File, features: usize) -> io::Result<HashMap<Hash, u64>> {
    let record = KEY + features as u64;
    let records = file.metadata()?.len() / record;
    file.set_len(records * record)?;
    let mut places = HashMap::new();
    for i in 0..records {
        let mut key = [0; KEY as usize];
        file.seek(SeekFrom::Start(i * record))?;
        file.read_exact(&mut key)?;
        places.insert(Hash::from_bytes(key), i * record + KEY);
    }
    Ok(places)
}

/// Whether the parameter `name` comes after what is kept.
fn is_after(name: &str) -> bool {
    name.starts_with("norm.")
}

/// A hash of all that features follow from, but for pictures.
fn key(vit: &Vit, precision: Precision) -> Hash {
    let mut hasher = Hasher::new();
    for (name, hash) in weights::hashes(vit).iter().filter(|(name, _)| !is_after(name)) {
        hasher.update(format!("{name} {hash}\n").as_bytes());
    }
    hasher.update(format!("{:?} {precision:?}", vit.features().layers).as_bytes());
    hasher.finalize()
}

/// What `vit` sees in pictures `[M, 3, h, w]` before its last norm, kept or made anew: `[M, N, E]`.
///
/// # Errors
/// As [`FeatureCache::features`].
pub fn before_norm(
    cache: Option<&FeatureCache>,
    vit: &Vit,
    planes: Vec<f32>,
    size: [usize; 2],
    device: &Device,
) -> Result<Tensor<3>> {
    match cache {
        Some(cache) => cache.features(vit, &planes),
        None => Ok(vit.before_norm(images(planes, size, device))),
    }
}

/// As [`Llava::encode`] of pictures `[M, 3, h, w]`, where a Vision Transformer sees them by what is kept of it.
///
/// # Errors
/// As [`FeatureCache::features`].
pub fn encode(
    llava: &Llava,
    cache: Option<&FeatureCache>,
    planes: Vec<f32>,
    size: [usize; 2],
    device: &Device,
) -> Result<Encoded> {
    match llava.tower(Modality::Image).encoder.vit() {
        Some(vit) => {
            let features = vit.after_norm(before_norm(cache, vit, planes, size, device)?);
            Ok(Encoded { modality: Modality::Image, features })
        }
        None => Ok(llava.encode(Input::Image(images(planes, size, device)))),
    }
}
