//! Published metrics as plain functions of texts and boxes: what an answer is worth beside what people
//! said.

pub mod bleu;
pub mod boxes;
pub mod cider;
pub mod rouge;
pub mod speech;
pub mod tokens;
pub mod vqa;
