//! Drawn data: scenes with captions, questions and conversations, sounds, clips and tables, icons,
//! easy-VQA, and text about them. All that is known of colours and shapes stands here.

pub mod caption;
pub mod clinic;
pub mod clips;
pub mod conversation;
pub mod curriculum;
pub(crate) mod datasets;
mod draw;
pub mod easy_vqa;
pub(crate) mod edits;
pub mod facts;
pub mod icons;
pub mod look;
pub mod pairs;
pub mod question;
pub mod records;
mod sample;
pub mod scene;
pub mod sounds;
pub mod text;
mod words;
