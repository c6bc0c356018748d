//! Published settings: parameter counts as the papers' code has them, and any bytes at all.

use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::{Directory, Plan, plan};

use crate::bad_inputs::copy;
use crate::golden;
use crate::open::{model, pretrained};

fn plan_of(config: &[u8]) -> sensorium_pretrained::Result<Plan> {
    let dir = tempfile::tempdir().unwrap();
    // open_clip's settings stand in a file of another name.
    let open_clip = config.windows(9).any(|at| at == b"model_cfg");
    let name = if open_clip { "open_clip_config.json" } else { "config.json" };
    std::fs::write(dir.path().join(name), config).unwrap();
    plan(&Directory::open(dir.path())?)
}

#[test]
fn counts_are_the_published_ones() {
    let cases: [(&[u8], [u64; 3]); 10] = [
        (include_bytes!("clip-vit-base-patch32.json"), [87_849_216, 63_428_096, 151_277_313]),
        (include_bytes!("clip-vit-base-patch16.json"), [86_192_640, 63_428_096, 149_620_737]),
        (include_bytes!("clip-vit-large-patch14.json"), [303_966_208, 123_650_304, 427_616_513]),
        (include_bytes!("siglip-base-patch16-224.json"), [92_884_224, 110_271_744, 203_155_970]),
        // Its model card says 0.4 B.
        (
            include_bytes!("siglip2-base-patch16-naflex.json"),
            [92_930_304, 282_303_744, 375_234_050],
        ),
        // Its paper and open_clip's table: 102.01 M.
        (include_bytes!("clip-rn50.json"), [38_316_896, 63_690_240, 102_007_137]),
        // Meta's model card says 1.1 B, with the token for hidden patches.
        (include_bytes!("dinov2-giant.json"), [1_136_479_232, 0, 1_136_479_232]),
        // Meta's model card says 22 M; the table of positions is that of 518 pixels.
        (include_bytes!("dinov2-small.json"), [22_056_192, 0, 22_056_192]),
        // Its paper says 21 M. Without the token for hidden patches.
        (include_bytes!("dinov3-vits16.json"), [21_596_160, 0, 21_596_160]),
        // Its paper says 29 M.
        (include_bytes!("dinov3-convnext-tiny.json"), [27_820_128, 0, 27_820_128]),
    ];
    for (config, want) in cases {
        let plan = plan_of(config).unwrap();
        let got = [Some("image"), Some("text"), None].map(|part| plan.parameters(part));
        assert_eq!(got, want, "{}", plan.family);
        let bytes = |format| plan.bytes(Some(format)) as f64 / plan.bytes(None) as f64;
        assert_eq!(bytes(pack::Format::F32), 1.0);
        let [half, quarter] = [pack::Format::Bf16, pack::Format::Int8].map(bytes);
        assert!(half > 0.5 && half < 0.8 && quarter > 0.25 && quarter < half, "{half} {quarter}");
    }
}

/// Image encoder, projector, language model and all, as transformers counts them.
#[test]
fn counts_of_models_that_see() {
    let cases: &[(&[u8], [u64; 4])] = &[
        // Li et al. 2023: 188 M trained in the first stage, where the language model's head is counted
        // too; in the second 107 M, 2,816 of them the norm after the encoder.
        (include_bytes!("blip2-itm-vit-g.json"), [985_952_256, 186_080_002, 0, 1_172_032_258]),
        (
            include_bytes!("blip2-opt-2.7b.json"),
            [985_952_256, 107_133_696 - 2816, 2_651_678_720, 3_744_761_856],
        ),
        // With a head of its own, which transformers 5 finds in the files alone: 3.94 B on the hub.
        (
            include_bytes!("blip2-flan-t5-xl.json"),
            [985_952_256, 106_737_152, 2_849_757_184, 3_942_446_592],
        ),
        (include_bytes!("t5-small.json"), [0, 0, 60_506_624, 60_506_624]),
        // With 84,696,195 that draw, without 29,300,232 that make tokens of pictures.
        (
            include_bytes!("janus-pro-1b.json"),
            [303_688_704, 6_295_552, 1_652_656_128, 2_047_336_579],
        ),
        (
            include_bytes!("llava-1.5-7b.json"),
            [303_507_456, 20_979_712, 6_738_939_904, 7_063_427_072],
        ),
        // SigLIP's encoder without its head and its last block.
        (
            include_bytes!("llava-interleave-qwen-0.5b.json"),
            [397_747_744, 2_230_272, 464_053_248, 864_031_264],
        ),
        (
            include_bytes!("llava-v1.6-mistral-7b.json"),
            [303_507_456, 20_983_808, 7_242_256_384, 7_566_747_648],
        ),
        (
            include_bytes!("llava-onevision-qwen2-0.5b.json"),
            [397_747_744, 1_837_696, 494_090_112, 893_675_552],
        ),
        (include_bytes!("internvl3-1b.json"), [304_012_288, 4_482_816, 629_697_920, 938_193_024]),
        (include_bytes!("gemma-3-4b.json"), [416_866_032, 2_950_272, 3_880_263_168, 4_300_079_472]),
        (
            include_bytes!("paligemma2-3b.json"),
            [412_442_352, 2_656_512, 2_617_143_552, 3_032_242_416],
        ),
        (
            include_bytes!("smolvlm-256m-instruct.json"),
            [86_433_024, 7_077_888, 162_974_016, 256_484_928],
        ),
        (
            include_bytes!("qwen2-vl-2b-instruct.json"),
            [631_183_360, 34_087_936, 1_543_714_304, 2_208_985_600],
        ),
        (
            include_bytes!("qwen2.5-vl-3b-instruct.json"),
            [631_975_680, 36_708_608, 3_085_938_688, 3_754_622_976],
        ),
        (
            include_bytes!("qwen3-vl-2b-instruct.json"),
            [306_242_560, 100_714_496, 1_720_574_976, 2_127_532_032],
        ),
    ];
    for (config, want) in cases {
        let plan = plan_of(config).unwrap();
        let parts = [Some("image"), Some("projector"), Some("language"), None];
        assert_eq!(parts.map(|part| plan.parameters(part)), *want, "{}", plan.family);
    }
}

/// Encoder, text tower, language model and all, as transformers counts them.
#[test]
fn counts_of_models_that_hear_and_speak() {
    let cases: [(&[u8], [u64; 4]); 9] = [
        // Less the vector that hides positions, which is for training.
        (include_bytes!("wav2vec2-base-960h.json"), [94_396_320 - 768, 0, 0, 94_396_320 - 768]),
        (
            include_bytes!("hubert-large-ls960-ft.json"),
            [315_471_520 - 1024, 0, 0, 315_471_520 - 1024],
        ),
        // Its model card says 8 B.
        (include_bytes!("qwen2-audio-7b.json"), [636_968_960, 0, 7_754_878_976, 8_397_094_912]),
        // Of which 3 B are its language model without the tables.
        (include_bytes!("voxtral-mini-3b.json"), [636_968_960, 0, 4_014_136_320, 4_676_271_104]),
        // 8,931,813,888 think, 1,351,360,256 talk, 449,051,264 make samples; less two vectors that mark a sound's
        // ends, which prompts have tokens for.
        (
            include_bytes!("qwen2.5-omni-7b.json"),
            [635_048_960, 0, 7_615_616_512, 10_732_225_408 - 7168],
        ),
        // 36,284,592, less what hears recordings and the durations' layers that are not run.
        (include_bytes!("mms-tts-eng.json"), [0, 6_299_904, 0, 28_284_571]),
        (include_bytes!("speecht5-tts.json"), [85_138_689, 0, 0, 144_431_684]),
        // Its card says 82 M, with what answers about whole texts and scales that no file holds.
        (include_bytes!("kokoro-82m.json"), [0, 5_606_400, 0, 81_172_818]),
        (include_bytes!("clap-htsat-unfused.json"), [28_190_872, 125_302_016, 0, 153_492_890]),
    ];
    for (config, want) in cases {
        let plan = plan_of(config).unwrap();
        let parts = [Some("encoder"), Some("text"), Some("language"), None];
        assert_eq!(parts.map(|part| plan.parameters(part)), want, "{}", plan.family);
    }
}

/// The same file with one to three bytes changed, removed or put in.
pub fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    const LIKELY: &[u8] = b"0123456789-.eE\"{}[],: ntfu";
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + rng.next_u64() % 3 {
        let at = rng.next_u64() as usize % bytes.len().max(1);
        let new = match rng.next_u64() % 4 {
            0 => rng.next_u64() as u8,
            _ => LIKELY[rng.next_u64() as usize % LIKELY.len()],
        };
        match rng.next_u64() % 4 {
            0 => bytes.insert(at, new),
            1 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes[at] = new,
        }
    }
    bytes
}

/// No settings, however damaged, end in a panic or in memory that the weights do not fill.
#[test]
fn damaged_settings_are_errors_or_other_settings() {
    for name in [
        "published_clip",
        "published_siglip",
        "siglip2",
        "siglip2_wide",
        "published_dinov2",
        "published_dinov2_swiglu",
        "published_dinov3",
        "published_dinov3_gated",
        "published_dinov3_convnext",
        "published_open_clip",
        "published_clip_resnet",
        "blip2_matching",
        "blip2_matching_third",
    ] {
        damage(name, &|path| pretrained(path).map(drop).map_err(|e| e.to_string()));
    }
    for name in [
        "wav2vec2",
        "hubert",
        "clap",
        "clap_fused",
        "qwen2_audio",
        "voxtral",
        "vits",
        "vits_voices",
        "vits_piper",
        "speecht5",
        "kokoro",
    ] {
        damage(name, &|path| pretrained(path).map(drop).map_err(|e| e.to_string()));
    }
    for name in [
        "seeing_llava_legacy",
        "seeing_llava_siglip",
        "seeing_idefics3",
        "tiles_next",
        "tiles_onevision",
        "tiles_internvl",
        "seeing_gemma3",
        "seeing_paligemma2",
        "blip2_opt",
        "blip2_t5",
        "t5_gated",
        "janus",
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
        "qwen2_5_omni",
        "qwen2_5_omni_voice",
    ] {
        damage(name, &|path| model(path, None).map(drop).map_err(|e| e.to_string()));
    }
}

fn damage(name: &str, open: &dyn Fn(&std::path::Path) -> Result<(), String>) {
    let mut rng = Rng::new(11);
    let dir = copy(name);
    let files = [
        "config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "open_clip_config.json",
        "vocab.json",
        "voice.onnx.json",
    ];
    for file in files.into_iter().filter(|file| golden(name).join(file).exists()) {
        let whole = std::fs::read(golden(name).join(file)).unwrap();
        let mut opened = 0;
        for _ in 0..300 {
            let bytes = mutated(&whole, &mut rng);
            std::fs::write(dir.path().join(file), &bytes).unwrap();
            match open(dir.path()) {
                Ok(()) => opened += 1,
                Err(text) => assert!(text.contains("hint: "), "{text}"),
            }
        }
        assert!(opened > 0, "{name} {file}: every mutation was refused");
        std::fs::write(dir.path().join(file), &whole).unwrap();
    }
}
