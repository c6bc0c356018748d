//! Drawn data: scenes with captions, questions and conversations, icons, easy-VQA, and text about
//! them. All that is known of colours and shapes stands here.

pub mod caption;
pub mod conversation;
pub mod curriculum;
pub(crate) mod datasets;
mod draw;
pub mod easy_vqa;
pub mod facts;
pub mod icons;
pub mod look;
pub mod pairs;
pub mod question;
mod sample;
pub mod scene;
pub mod text;
mod words;
