//! Which keys of a checkpoint's settings are neither heeded nor without effect: one is told of them.
//!
//! A key is heeded if it was asked for ([`Config`](crate::Config) remembers that), without effect if
//! it is listed here; any other is ignored, also one that nobody has heard of.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::error::{Error, Result};

/// Change no output. One table for all files, as the same keys stand in many.
const WITHOUT_EFFECT: &[&str] = &[
    // Where it comes from, and what reads it elsewhere.
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_class_name",
    "_commit_hash",
    "_diffusers_version",
    "_flash_attn_2_enabled",
    "_from_model_config",
    "_name_or_path",
    "_processor_class",
    "_valid_processor_keys",
    "architectures",
    "attn_implementation",
    "auto_map",
    "backend",
    "custom_generate",
    "dtype",
    "finetuning_task",
    "id2label",
    "is_local",
    "label2id",
    "local_files_only",
    "model_type",
    "name",
    "name_or_path",
    "onnx_export",
    "processor_class",
    "special_tokens_map_file",
    "task_specific_params",
    "tokenizer_class",
    "tokenizer_file",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    // Training: dropout, the first values, what is frozen, losses.
    "activation_dropout",
    "alpha_initializer",
    "alphas_initializer_range",
    "apply_spec_augment",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "decoder_layerdrop",
    "drop_path_rate",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "encoder_layerdrop",
    "freeze_lm_head",
    "freeze_text_layers",
    "freeze_text_module_exceptions",
    "freeze_vision_layers",
    "freeze_vision_module_exceptions",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "ignore_index",
    "init_logit_scale",
    "init_std",
    "initializer_factor",
    "initializer_range",
    "layerdrop",
    "layerscale_value",
    "logit_scale_init_value",
    "mask_feature_length",
    "mask_feature_min_masks",
    "mask_feature_prob",
    "mask_time_length",
    "mask_time_min_masks",
    "mask_time_prob",
    "neftune_noise_alpha",
    "patch_dropout",
    "problem_type",
    "resid_pdrop",
    "use_mask_token",
    "use_reentrant_checkpointing",
    // Heads of other classes: classifiers, DINOv2 as a backbone of detectors, times of words.
    "_num_labels",
    "alignment_heads",
    "apply_layernorm",
    "classifier_dropout",
    "classifier_proj_size",
    "directionality",
    "median_filter_width",
    "num_labels",
    "out_features",
    "out_indices",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "reshape_hidden_states",
    "stage_names",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "use_weighted_layer_sum",
    // How it is computed, in which memory, and what else is given back.
    "cache_config",
    "cache_implementation",
    "chunk_size_feed_forward",
    "compile_config",
    "continuous_batching_config",
    "disable_compile",
    "low_memory",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "output_past",
    "prefill_chunk_size",
    "pretraining_tp",
    "reorder_and_upcast_attn",
    "return_attention_mask",
    "return_dict",
    "return_dict_in_generate",
    "return_legacy_cache",
    "return_tensors",
    "return_timestamps",
    "torchscript",
    "use_bfloat16",
    "use_cache",
    "use_fast",
    "use_return_dict",
    // What another model or another program helps with, and how long a text may become.
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_lookbehind",
    "chat_format",
    "generation_kwargs",
    "is_assistant",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_window_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "prompt_lookup_num_tokens",
    "target_lookbehind",
    "use_model_defaults",
    // Tokens' ids: those that a family needs it asks for.
    "_pad_token_id",
    "boi_token_id",
    "boi_token_index",
    "bos_token_id",
    "decoder_start_token_id",
    "eoi_token_id",
    "eoi_token_index",
    "eos_token_id",
    "forced_decoder_ids",
    "image_token_id",
    "image_token_index",
    "pad_token_id",
    "prev_sot_token_id",
    "sep_token_id",
    "video_token_id",
    "video_token_index",
    // Tokenizers: `tokenizer.json` says it, or it is of padding and cutting, which are done otherwise.
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "added_tokens_decoder",
    "additional_special_tokens",
    "chat_template",
    "clean_up_tokenization_spaces",
    "do_basic_tokenize",
    "do_lower_case",
    "errors",
    "extra_ids",
    "extra_special_tokens",
    "from_slow",
    "keep_accents",
    "language",
    "legacy",
    "modality_config",
    "module_output_name",
    "merges_file",
    "model_input_names",
    "model_max_length",
    "model_specific_special_tokens",
    "never_split",
    "normalizer_file",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "predict_timestamps",
    "sp_model_kwargs",
    "spaces_between_special_tokens",
    "stride",
    "strip_accents",
    "task",
    "tokenize_chinese_chars",
    "transformer_task",
    "trim_offsets",
    "truncation_strategy",
    "trust_remote_code",
    "use_default_system_prompt",
    "vocab_file",
    // Pictures are of three channels when they are read; sequences are read one at a time.
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "input_data_format",
    // Said again elsewhere, by the tensors, or by the family's name.
    "chunk_length",
    "encoder_hidden_size",
    "feature_extractor_type",
    "image_seq_len",
    "image_seq_length",
    "is_encoder_decoder",
    "is_llama_config",
    "max_sequence_length",
    "mel_filters",
    "n_ctx",
    "n_samples",
    "nb_max_frames",
    "num_additional_image_tokens",
    "pixel_shuffle_factor",
    "projection_dim",
    // Whoever has a head asks for it.
    "tie_word_embeddings",
    "use_base_siglip",
    "use_decoder_only_language_model",
];

/// Say how tokens are drawn, where they are drawn at all.
const SAMPLING: [&str; 8] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "top_h",
];

/// What a key says where it changes nothing.
fn neutral(key: &str) -> Option<Value> {
    Some(match key {
        "num_beams"
        | "num_beam_groups"
        | "num_return_sequences"
        | "temperature"
        | "top_p"
        | "typical_p"
        | "length_penalty"
        | "encoder_repetition_penalty"
        | "repetition_penalty"
        | "guidance_scale"
        | "partial_rotary_factor" => json!(1),
        "top_k" => json!(50),
        "do_sample"
        | "early_stopping"
        | "add_cross_attention"
        | "is_decoder"
        | "normalize"
        | "qk_layer_norms"
        | "remove_invalid_values"
        | "renormalize_logits"
        | "rope_interleaved"
        | "fix_mistral_regex"
        | "split_special_tokens"
        | "tf_legacy_loss"
        | "tie_encoder_decoder"
        | "token_healing"
        | "use_resampler" => json!(false),
        "diversity_penalty"
        | "encoder_no_repeat_ngram_size"
        | "no_repeat_ngram_size"
        | "min_length"
        | "min_new_tokens"
        | "min_p"
        | "epsilon_cutoff"
        | "eta_cutoff"
        | "top_h"
        | "dither"
        | "padding_value"
        | "penalty_alpha" => json!(0),
        "image_num_channels" => json!(3),
        "padding_side" | "truncation_side" => json!("right"),
        _ => return None,
    })
}

/// Whether a key, of these beside it, changes nothing.
fn is_without_effect(key: &str, value: &Value, beside: &Map<String, Value>) -> bool {
    let draws = beside.get("do_sample") == Some(&json!(true));
    let is_empty =
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    let is_neutral = neutral(key).is_some_and(|neutral| match (value.as_f64(), neutral.as_f64()) {
        (Some(x), Some(neutral)) => x == neutral,
        _ => *value == neutral,
    });
    value.is_null()
        || is_empty
        || is_neutral
        || WITHOUT_EFFECT.contains(&key)
        || SAMPLING.contains(&key) && !draws
}

/// Warns that these are not heeded, if there are any; an error if nothing may be ignored.
pub fn tell(path: &str, file: &str, what: &[String], strict: bool) -> Result<()> {
    let what = what.join(", ");
    if strict && !what.is_empty() {
        return Err(Error::Ignored { place: format!("{path}{file}"), got: what });
    }
    if !what.is_empty() {
        log::warn!("{path}ignored: {file}: {what}");
    }
    Ok(())
}

/// The paths of keys of a settings file that were not `asked` for and may change the output. An object
/// of which a key was asked for is looked into; one that was asked for as a whole is heeded.
pub fn ignored(value: &Value, asked: &BTreeSet<String>) -> Vec<String> {
    let mut ignored = Vec::new();
    walk(value, "", asked, &mut ignored);
    ignored
}

fn walk(value: &Value, prefix: &str, asked: &BTreeSet<String>, ignored: &mut Vec<String>) {
    let Some(map) = value.as_object() else { return };
    for (key, value) in map {
        let path = format!("{prefix}{key}");
        let inside = format!("{path}.");
        let was_opened = asked.range(inside.clone()..).next();
        if was_opened.is_some_and(|first| first.starts_with(&inside)) {
            walk(value, &inside, asked, ignored);
        } else if !asked.contains(&path) && !is_without_effect(key, value, map) {
            ignored.push(path);
        }
    }
}
