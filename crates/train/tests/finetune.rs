//! Published models go on learning from a folder of pictures, and what is left is published as they were.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sensorium_checkpoint::{Tensor, safetensors};
use sensorium_media::Picture;
use sensorium_nn::pack::Kind;
use sensorium_nn::prelude::Device;
use sensorium_pretrained::{Directory, Pretrained};
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn samples() -> String {
    root("crates/data/tests/samples/folder-csv")
}

/// A recipe that trains the golden model on a folder, measured on the same.
fn clip(golden: &str, loss: &str, data: &str) -> String {
    format!(
        "recipe = 'clip'\nseed = 1\nsteps = 10\nbatch = 2\nsave_every = 5\neval_every = 2\n\
         eval_batches = 1\nloss = '{loss}'\nschedule = {{ kind = 'constant', learning_rate = 1e-3 }}\n\
         [model]\nfrom = {from:?}\n[[data.train]]\nkind = 'folder'\npath = {data:?}\nlicence = 'CC0'\n\
         [[data.val]]\nkind = 'folder'\npath = {data:?}\n",
        from = root(&format!("goldens/{golden}"))
    )
}

fn llava(golden: &str, kind: &str, data: &str) -> String {
    format!(
        "recipe = 'llava'\nseed = 1\n[model]\nfrom = {from:?}\n[instruct]\nsteps = 10\nbatch = 2\n\
         save_every = 5\neval_every = 5\nschedule = {{ kind = 'constant', learning_rate = 1e-3 }}\n\
         [[instruct.data.train]]\nkind = '{kind}'\npath = {data:?}\n\
         [[instruct.data.val]]\nkind = '{kind}'\npath = {data:?}\n",
        from = root(&format!("goldens/{golden}"))
    )
}

struct Trial(TempDir);

impl Trial {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn train(&self, recipe: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let file = self.0.path().join("recipe.toml");
        std::fs::write(&file, recipe).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let options = RunOptions { resume, strict: true, ..RunOptions::new(self.path("run")) };
        recipes::train(&file, &sets, &options).map_err(|error| error.to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn losses(run: &Path) -> Vec<f64> {
    log::read(run).unwrap().iter().map(|metrics| metrics.loss).collect()
}

/// The tensors of a directory; numbers of positions and of batches are no weights.
fn tensors(dir: &Path) -> BTreeMap<String, Tensor> {
    let numbers =
        |name: &str| name.ends_with("position_ids") || name.ends_with("num_batches_tracked");
    let all = Directory::open(dir).unwrap().tensors_but(numbers).unwrap().tensors;
    all.into_iter().filter(|(name, _)| !numbers(name)).collect()
}

/// Names and shapes of what a directory holds.
fn shapes(dir: &Path) -> Vec<(String, Vec<usize>)> {
    tensors(dir).into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect()
}

/// That the directory opens, and holds the very tensors that the golden one does.
fn is_published_as(golden: &str, dir: &Path) {
    Pretrained::open(dir, &Device::flex()).unwrap();
    assert_eq!(shapes(dir), shapes(root(&format!("goldens/{golden}")).as_ref()), "{golden}");
}

#[test]
fn dual_encoders_learn_from_a_folder() {
    for (golden, loss) in [
        ("published_clip", "info_nce"),
        ("published_clip_sharded", "info_nce"),
        ("published_siglip", "sigmoid"),
        ("published_open_clip", "info_nce"),
        ("published_clip_resnet", "info_nce"),
    ] {
        let trial = Trial::new();
        trial.train(&clip(golden, loss, &samples()), &[], false).unwrap();
        let run = trial.path("run");
        let losses = losses(&run);
        assert!(losses[9] < losses[0], "{golden}: {losses:?}");
        is_published_as(golden, &run.join("final"));
        is_published_as(golden, &run.join("best"));
    }
}

#[test]
fn assistants_learn_from_captions_and_conversations() {
    let talks = root("crates/data/tests/samples/llava-json/conversations.json");
    for golden in ["seeing_smolvlm", "seeing_idefics3", "seeing_llava", "seeing_llava_siglip"] {
        let folder = llava(golden, "folder", &samples());
        // Of its conversations, one has no picture: a micro-batch of that alone trains no projector.
        let conversations = llava(golden, "llava-json", &talks)
            .replace("batch_size = 2", "batch_size = 2\naccumulate = 2");
        for recipe in [folder, conversations] {
            let trial = Trial::new();
            let trained = trial.train(&recipe, &[], false);
            trained.unwrap_or_else(|error| panic!("{golden}: {error}"));
            let run = trial.path("run/instruct");
            let losses = losses(&run);
            assert!(losses[9] < losses[0], "{golden}: {losses:?}");
            is_published_as(golden, &run.join("final"));
        }
    }
}

/// Families that are trained by the very prompts and features that they answer with.
const ANSWERING: [&str; 11] = [
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "tiles_next",
    "tiles_next_qwen",
    "tiles_onevision",
    "tiles_internvl",
    "seeing_gemma3",
    "seeing_paligemma",
    "seeing_paligemma2",
    "qwen2_audio",
];

/// A recipe that trains one of them on a folder of what it reads.
fn answering(golden: &str) -> String {
    let folder = if golden == "qwen2_audio" { "folder-sounds" } else { "folder-csv" };
    llava(golden, "folder", &root(&format!("crates/data/tests/samples/{folder}")))
}

/// What sees or hears in these models' files, but for what stands behind it.
fn is_tower(name: &str) -> bool {
    let parts = ["vision_tower", "audio_tower", "visual.patch_embed", "visual.pos_embed"];
    name.contains("visual.blocks") || parts.iter().any(|part| name.contains(part))
}

#[test]
fn whatever_answers_goes_on_learning() {
    for golden in ANSWERING {
        let trial = Trial::new();
        let trained = trial.train(&answering(golden), &[], false);
        trained.unwrap_or_else(|error| panic!("{golden}: {error}"));
        let run = trial.path("run/instruct");
        let losses = losses(&run);
        assert!(losses[9] < losses[0], "{golden}: {losses:?}");
        is_published_as(golden, &run.join("final"));
        let before = tensors(root(&format!("goldens/{golden}")).as_ref());
        let after = tensors(&run.join("final"));
        for (name, tensor) in &before {
            // A key's bias changes no attention, and what is added behind the last layer nothing.
            if !name.contains("k_proj.bias") && !name.contains("deepstack_merger_list.1") {
                assert_eq!(is_tower(name), after[name] == *tensor, "{golden}: {name}");
            }
        }
    }
}

/// What is learned of a step in parts, and of conversations of which one has no picture.
#[test]
fn whatever_answers_learns_from_conversations_in_micro_batches() {
    let talks = root("crates/data/tests/samples/llava-json/conversations.json");
    for golden in ["qwen2_5_vl", "tiles_onevision", "seeing_gemma3"] {
        let log = |sets: &[&str]| {
            let trial = Trial::new();
            trial.train(&llava(golden, "llava-json", &talks), sets, false).unwrap();
            log::read(&trial.path("run/instruct")).unwrap()
        };
        let (whole, parts) = (log(&[]), log(&["instruct.accumulate=2"]));
        assert!(whole[9].loss < whole[0].loss, "{golden}");
        for (a, b) in whole.iter().zip(&parts).take(4) {
            let off = [(a.loss - b.loss).abs() / a.loss, (a.grad_norm / b.grad_norm - 1.0).abs()];
            assert!(off.iter().all(|off| *off < 1e-4), "{golden}, step {}: {off:?}", a.step);
        }
    }
    // One of them is about no picture, the other has two questions.
    let recipe = llava("seeing_paligemma", "llava-json", &talks);
    let error = Trial::new().train(&recipe, &[], false).unwrap_err();
    let known =
        ["expected a picture before the text", "a question with its answer, got 5 messages"];
    assert!(known.iter().any(|words| error.contains(words)), "{error}");
}

/// Encoders learn where a rate says so, and adapters beside the language model; both go on bit for bit.
#[test]
fn encoders_and_adapters_of_whatever_answers_learn() {
    for golden in ["qwen2_5_vl", "tiles_next", "seeing_gemma3", "qwen2_audio"] {
        let trial = Trial::new();
        trial.train(&answering(golden), &["instruct.image_rate=0.5"], false).unwrap();
        let run = trial.path("run/instruct/final");
        is_published_as(golden, &run);
        let before = tensors(root(&format!("goldens/{golden}")).as_ref());
        let after = tensors(&run);
        let moved = before.iter().filter(|(name, tensor)| after[*name] != **tensor);
        assert!(moved.filter(|(name, _)| is_tower(name)).count() > 5, "{golden}");
    }
    let error = Trial::new().train(&answering("tiles_internvl"), &["instruct.image_rate=1"], false);
    let error = error.unwrap_err();
    assert!(error.contains("towers.0.encoder") && error.contains("hint:"), "{error}");

    for golden in ANSWERING {
        let [whole, killed] = std::array::from_fn(|_| Trial::new());
        let recipe =
            answering(golden).replace("[instruct]", "[lora]\nlora_dropout = 0.1\n[instruct]");
        whole.train(&recipe, &[], false).unwrap();
        killed.train(&recipe, &["instruct.steps=5"], false).unwrap();
        killed.train(&recipe, &[], true).unwrap();
        let dir = "run/instruct/final";
        let adapter = |trial: &Trial| {
            std::fs::read(trial.path(dir).join("adapter_model.safetensors")).unwrap()
        };
        assert!(adapter(&killed) == adapter(&whole), "{golden}: resumed in other bits");
        let base = Directory::open(root(&format!("goldens/{golden}")).as_ref()).unwrap();
        let adapted = base.clone().adapted(Some(&whole.path(dir))).unwrap();
        Pretrained::load(&adapted, &Device::flex()).unwrap();
        let (before, after) = (base.tensors().unwrap(), adapted.tensors().unwrap());
        for (name, tensor) in &before.tensors {
            let learned = name.contains("_proj.weight") && !is_tower(name);
            assert_eq!(learned, after.tensors[name] != *tensor, "{golden}: {name}");
        }
    }
}

#[test]
fn what_is_frozen_is_published_bit_for_bit() {
    let trial = Trial::new();
    trial.train(&llava("seeing_smolvlm", "folder", &samples()), &[], false).unwrap();
    let before = tensors(root("goldens/seeing_smolvlm").as_ref());
    let after = tensors(&trial.path("run/instruct/final"));
    for (name, tensor) in &before {
        let frozen = name.starts_with("model.vision_model.");
        assert_eq!(frozen, after[name] == *tensor, "{name}");
    }
}

/// Statistics of norms move with what is trained, stay with what is frozen, and go on bit for bit.
#[test]
fn a_resnet_is_trained_whole_in_part_or_not_at_all() {
    let recipe = clip("published_clip_resnet", "info_nce", &samples());
    let before = tensors(root("goldens/published_clip_resnet").as_ref());
    for (train, moves) in [
        ("[]", &(|_: &str| true) as &dyn Fn(&str) -> bool),
        ("['image.layer4']", &|name| name.starts_with("visual.layer4.")),
        ("['text', 'scale']", &|name| !name.starts_with("visual.")),
    ] {
        let [whole, killed] = std::array::from_fn(|_| Trial::new());
        let train = format!("model.train={train}");
        let sets: &[&str] = if train.ends_with("[]") { &[] } else { &[&train] };
        whole.train(&recipe, sets, false).unwrap();
        killed.train(&recipe, &[sets, &["steps=5"]].concat(), false).unwrap();
        killed.train(&recipe, sets, true).unwrap();
        let [after, again] = [&whole, &killed].map(|trial| tensors(&trial.path("run/final")));
        assert!(after == again, "{train}: resumed in other bits");
        for (name, tensor) in &before {
            // A key's bias changes no attention.
            if !name.contains("k_proj.bias") {
                assert_eq!(moves(name), after[name] != *tensor, "{train}: {name}");
            }
        }
    }
}

#[test]
fn parts_are_trained_by_name() {
    let trial = Trial::new();
    let recipe = clip("published_clip", "info_nce", &samples());
    trial.train(&recipe, &["model.train=[\"text.blocks.1\"]"], false).unwrap();
    let before = tensors(root("goldens/published_clip").as_ref());
    let after = tensors(&trial.path("run/final"));
    for (name, tensor) in &before {
        let trained = name.starts_with("text_model.encoder.layers.1.");
        assert_eq!(!trained, after[name] == *tensor, "{name}");
    }

    let trial = Trial::new();
    let recipe = llava("seeing_llava", "folder", &samples());
    trial.train(&recipe, &["model.train=[\"towers.0.encoder\"]"], false).unwrap();
    let unknown = Trial::new().train(&recipe, &["model.train=[\"tower\"]"], false).unwrap_err();
    assert!(unknown.contains("tower") && unknown.contains("hint:"), "{unknown}");
}

/// A batch without a picture teaches no projector, and is no error.
#[test]
fn projectors_learn_beside_conversations_about_nothing_to_see() {
    let talks = root("crates/data/tests/samples/llava-json/conversations.json");
    for golden in ["seeing_llava", "tiles_onevision"] {
        let trial = Trial::new();
        let sets = ["model.train=['towers.0.projector']", "instruct.batch=1"];
        trial.train(&llava(golden, "llava-json", &talks), &sets, false).unwrap();
    }
}

/// `reference/finetune.py`, `reference/parts.py`: the same steps by torch, and what transformers makes of our
/// `final/`.
#[test]
fn losses_are_those_of_transformers_and_it_reads_what_is_saved() {
    let close = |ours: f64, theirs: f64| (ours - theirs).abs() < 1e-5 + 1e-3 * theirs.abs();
    let goldens =
        ["goldens/finetune", "goldens/parts"].map(|dir| std::fs::read_dir(root(dir)).unwrap());
    let files = goldens.into_iter().flatten().map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    assert_eq!(files.len(), 32);
    for file in files {
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        // Paths are those of the repository.
        let recipe = golden["recipe"].as_str().unwrap();
        let recipe = recipe.replace("'goldens/", &format!("'{}", root("goldens/")));
        let recipe = recipe.replace("'crates/", &format!("'{}", root("crates/")));
        let trial = Trial::new();
        trial.train(&recipe, &[], false).unwrap();
        let run = trial.path("run");
        let run = if run.join("instruct").exists() { run.join("instruct") } else { run };
        let theirs = golden["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap());
        let ours = losses(&run);
        assert_eq!(ours.len(), 10);
        for (step, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let name = file.display();
            assert!(close(*ours, theirs), "{name}, step {step}: {ours}, transformers {theirs}");
        }
        let read = golden["final"].as_f64().unwrap();
        let last = log::read(&run).unwrap().pop().unwrap().extra["val_loss"];
        assert!(close(last, read), "{}: {last}, read by transformers {read}", file.display());
    }
}

/// A new adapter begins as nothing, moves nothing else, and goes on bit for bit.
#[test]
fn an_adapter_is_learned_beside_a_frozen_model() {
    let chats = root("crates/data/tests/samples/messages/chats.jsonl");
    let recipe = llava("chatting", "messages", &chats).replace("[instruct]", "[lora]\n[instruct]");
    let plain = Trial::new();
    plain.train(&llava("chatting", "messages", &chats), &[], false).unwrap();
    let whole = Trial::new();
    whole.train(&recipe, &[], false).unwrap();
    let ours = losses(&whole.path("run/instruct"));
    assert!((ours[0] - losses(&plain.path("run/instruct"))[0]).abs() < 1e-6);
    assert!(ours[9] < ours[0], "{ours:?}");
    is_published_as("chatting", &plain.path("run/instruct/final"));

    let killed = Trial::new();
    killed.train(&recipe, &["instruct.steps=5"], false).unwrap();
    killed.train(&recipe, &[], true).unwrap();
    let adapter = |trial: &Trial| {
        std::fs::read(trial.path("run/instruct/final/adapter_model.safetensors")).unwrap()
    };
    assert!(adapter(&killed) == adapter(&whole), "resumed in other bits");
    // A checkpoint holds what is trained, the best as much as the last.
    let run = whole.path("run/instruct");
    let saved = |file: &str| safetensors::shapes(&run.join(file)).unwrap();
    let of_step = saved("step-000000010/weights.safetensors");
    assert!(
        of_step.len() == 28 && of_step.keys().all(|name| name.contains(".lora.")),
        "{of_step:?}"
    );
    let names = |file: &str| saved(file).into_keys().collect::<Vec<_>>();
    assert_eq!(names("best/adapter_model.safetensors").len(), 28);
    assert_eq!(names("best/adapter_model.safetensors"), names("final/adapter_model.safetensors"));
    let base = Directory::open(root("goldens/chatting").as_ref()).unwrap();
    let adapted = base.clone().adapted(Some(&whole.path("run/instruct/final"))).unwrap();
    let (before, after) = (base.tensors().unwrap(), adapted.tensors().unwrap());
    for (name, tensor) in &before.tensors {
        assert_eq!(name.contains("_proj"), after.tensors[name] != *tensor, "{name}");
    }
}

/// Magnitudes are learned; what is hidden is other at each step, and the same when a run goes on.
#[test]
fn adapters_with_magnitudes_and_dropout_go_on_bit_for_bit() {
    let chats = root("crates/data/tests/samples/messages/chats.jsonl");
    let of = |lora: &str| {
        llava("chatting", "messages", &chats)
            .replace("[instruct]", &format!("[lora]\nuse_dora = true\n{lora}\n[instruct]"))
            .replace("batch = 2", "batch = 2\naccumulate = 2")
    };
    let [plain, whole, killed, other] = std::array::from_fn(|_| Trial::new());
    plain.train(&of(""), &[], false).unwrap();
    let recipe = of("lora_dropout = 0.2");
    whole.train(&recipe, &[], false).unwrap();
    killed.train(&recipe, &["instruct.steps=5"], false).unwrap();
    killed.train(&recipe, &["recompute=true"], true).unwrap();
    other.train(&recipe, &["seed=2"], false).unwrap();
    let file = "run/instruct/final/adapter_model.safetensors";
    let adapter = |trial: &Trial| std::fs::read(trial.path(file)).unwrap();
    assert!(adapter(&killed) == adapter(&whole), "resumed in other bits");
    let [plain, dropped, other] = [&plain, &whole, &other].map(|t| losses(&t.path("run/instruct")));
    // At first B is 0: nothing is hidden of what is not there.
    assert!((plain[0] - dropped[0]).abs() < 1e-6 && (plain[0] - other[0]).abs() < 1e-6);
    assert!(plain[5] != dropped[5] && dropped[9] < dropped[0], "{plain:?} {dropped:?}");
    let saved = safetensors::shapes(&whole.path(file)).unwrap();
    let magnitudes = saved.keys().filter(|name| name.ends_with(".lora_magnitude_vector"));
    assert_eq!((saved.len(), magnitudes.count()), (42, 14));
    let base = Directory::open(root("goldens/chatting").as_ref()).unwrap();
    base.adapted(Some(&whole.path("run/instruct/final"))).unwrap().tensors().unwrap();
}

/// A base in few bits is trained beside as if its numbers had always been those.
#[test]
fn an_adapter_is_learned_beside_a_quantized_base() {
    let chats = root("crates/data/tests/samples/messages/chats.jsonl");
    let of = |lora: &str| {
        llava("chatting", "messages", &chats)
            .replace("[instruct]", &format!("[lora]\n{lora}\n[instruct]"))
    };
    let mut tensors =
        Directory::open(root("goldens/chatting").as_ref()).unwrap().tensors().unwrap();
    for (name, tensor) in &mut tensors.tensors {
        // Rows of down_proj are no whole blocks.
        if name.contains("_proj") && tensor.shape()[1] % 32 == 0 {
            let mut rounded = vec![0.0; tensor.data().len()];
            Kind::Q8_0.dequantize(&Kind::Q8_0.quantize(tensor.data()), &mut rounded);
            *tensor = Tensor::new(tensor.shape().to_vec(), rounded).unwrap();
        }
    }
    for more in ["", "use_dora = true\nlora_dropout = 0.1\n"] {
        let rounded = Trial::new();
        let base = rounded.path("base");
        std::fs::create_dir(&base).unwrap();
        for file in std::fs::read_dir(root("goldens/chatting")).unwrap().flatten() {
            std::fs::copy(file.path(), base.join(file.file_name())).unwrap();
        }
        let bytes = safetensors::write(&tensors, safetensors::Dtype::F32).unwrap();
        std::fs::write(base.join("model.safetensors"), bytes).unwrap();
        let recipe = of(more).replace(&root("goldens/chatting"), base.to_str().unwrap());
        rounded.train(&recipe, &[], false).unwrap();
        let quantized = Trial::new();
        quantized.train(&of(&format!("{more}quantization = 'q8_0'")), &[], false).unwrap();
        let [a, b] = [&rounded, &quantized].map(|trial| losses(&trial.path("run/instruct")));
        // Magnitudes begin as those of the matrices before they are rounded.
        let limit = if more.is_empty() { 1e-5 } else { 1e-2 };
        for (step, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!((a - b).abs() < limit, "{more}, step {step}: {a}, quantized {b}");
        }
        assert!(b[9] < b[0], "{b:?}");
    }
}

/// Conversations in one row, or beside those of their length, teach what they teach alone.
#[test]
fn packing_and_buckets_change_no_loss() {
    let chats = root("crates/data/tests/samples/messages/chats.jsonl");
    let talks = root("crates/data/tests/samples/llava-json/conversations.json");
    for (golden, kind, path) in
        [("chatting", "messages", &chats), ("seeing_llava", "llava-json", &talks)]
    {
        let recipe = llava(golden, kind, path).replace("batch = 2", "batch = 8\naccumulate = 2");
        let losses = |sets: &[&str]| {
            let trial = Trial::new();
            trial.train(&recipe, &[sets, &["instruct.steps=3"]].concat(), false).unwrap();
            losses(&trial.path("run/instruct"))
        };
        let plain = losses(&[]);
        for sets in [
            &["instruct.packing=true"][..],
            &["instruct.group_by_length=true"],
            &["instruct.packing=true", "instruct.group_by_length=true"],
        ] {
            for (step, (a, b)) in losses(sets).iter().zip(&plain).enumerate() {
                assert!((a - b).abs() < 1e-5, "{golden}, {sets:?}, step {step}: {a}, alone {b}");
            }
        }
    }
}

#[test]
fn a_run_ends_early_when_nothing_is_learned_any_more() {
    let trial = Trial::new();
    let recipe = clip("published_clip", "info_nce", &samples()).replace("1e-3", "1e-30");
    trial.train(&recipe, &["patience=2"], false).unwrap();
    let (run, steps) = (trial.path("run"), |run: &Path| losses(run).len());
    // Measured after 2, 4 and 6 steps.
    assert_eq!(steps(&run), 6);
    let provenance = std::fs::read_to_string(run.join("final/provenance.json")).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&provenance).unwrap();
    assert_eq!(provenance["steps"], 6);
    trial.train(&recipe, &["patience=2"], true).unwrap();
    assert_eq!(steps(&run), 6);
    trial.train(&recipe, &["patience=9"], true).unwrap();
    assert_eq!(steps(&run), 10);
    assert!(run.join("final-000000006").is_dir());
}

#[test]
fn epochs_are_steps_over_all_examples() {
    let recipe = clip("published_clip", "info_nce", &samples());
    let recipe = recipe.replace("steps = 10", "epochs = 2.5").replace("batch = 2", "batch = 1");
    let trial = Trial::new();
    trial.train(&recipe, &[], false).unwrap();
    assert_eq!(losses(&trial.path("run")).len(), 5);
    trial.train(&recipe, &[], true).unwrap();
    let error = Trial::new().train(&recipe, &["steps=3"], false).unwrap_err();
    assert!(error.contains("give one of the two"), "{error}");
    let drawn = ["data.train=[{kind=\"scenes\"}]"];
    let error = Trial::new().train(&recipe, &drawn, false).unwrap_err();
    assert!(error.contains("drawn without"), "{error}");
}

/// What is changed at random follows from an example's number: a run goes on bit for bit.
#[test]
fn augmented_pictures_go_on_bit_for_bit() {
    let pictures = TempDir::new().unwrap();
    for (name, shift) in [("a", 0), ("b", 7)] {
        let pixels = (0..3 * 40 * 30).map(|i| (i * 11 + shift * i / 9) as u8).collect();
        let picture = Picture::new(40, 30, pixels).unwrap();
        std::fs::create_dir(pictures.path().join(name)).unwrap();
        std::fs::write(pictures.path().join(name).join("1.png"), picture.to_png()).unwrap();
    }
    let recipe = clip("published_clip", "info_nce", pictures.path().to_str().unwrap());
    let augment = "data.augment={random_resized_crop=[0.5, 1.0], horizontal_flip=0.5}";
    let [plain, whole, killed] = std::array::from_fn(|_| Trial::new());
    plain.train(&recipe, &[], false).unwrap();
    whole.train(&recipe, &[augment], false).unwrap();
    killed.train(&recipe, &[augment, "steps=5"], false).unwrap();
    killed.train(&recipe, &[augment], true).unwrap();
    let of = |trial: &Trial| losses(&trial.path("run"));
    assert!(of(&whole) == of(&killed) && of(&whole) != of(&plain));
}

/// What is wrong with data: an error that says so, or a run that ends without it.
#[test]
fn bad_data_is_named_or_left_out() {
    let picture = std::fs::read(Path::new(&samples()).join("red.png")).unwrap();
    let rows = |rows: &[&str]| format!("file_name,text\n{}\n", rows.join("\n"));
    let one_broken = [vec!["red.png,a"; 99], vec!["broken.png,a"]].concat();
    for (table, ends) in [
        (rows(&[]), Err("at least one example")),
        ("name,label\nred.png,a\n".into(), Err("file_name")),
        (rows(&["red.png,", "red.png,"]), Err("captions")),
        (rows(&["red.png,a", "red.png,"]), Err("at most 5 %")),
        (rows(&["../red.png,a"]), Err("at most 5 %")),
        (rows(&["red.png,a", "broken.png,b"]), Err("at most 5 %")),
        (rows(&one_broken), Ok(1)),
        (rows(&["red.png,a"]), Ok(0)),
    ] {
        let trial = Trial::new();
        let folder = trial.path("pictures");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("red.png"), &picture).unwrap();
        std::fs::write(folder.join("broken.png"), &picture[..20]).unwrap();
        std::fs::write(folder.join("metadata.csv"), &table).unwrap();
        let recipe = clip("published_clip", "info_nce", folder.to_str().unwrap());
        let done = trial.train(&recipe, &["steps=60", "eval_every=0"], false);
        match (done, ends) {
            (Err(error), Err(says)) => {
                assert!(error.contains(says) && error.contains("hint:"), "{table}: {error}");
            }
            (Ok(()), Ok(bad)) => {
                let named = std::fs::read_to_string(trial.path("run/bad_samples.jsonl"));
                assert_eq!(named.unwrap_or_default().lines().count(), bad, "{table}");
            }
            (done, ends) => panic!("{table}: {done:?} for {ends:?}"),
        }
    }
    // A class of one picture is a class.
    let trial = Trial::new();
    std::fs::create_dir_all(trial.path("classes/red")).unwrap();
    std::fs::write(trial.path("classes/red/1.png"), &picture).unwrap();
    let recipe = clip("published_clip", "info_nce", trial.path("classes").to_str().unwrap());
    trial.train(&recipe, &["steps=2"], false).unwrap();
}

/// What is frozen is in no checkpoint: a run that goes on must start from what it began with.
#[test]
fn a_run_goes_on_from_the_weights_that_it_began_with() {
    let chats = root("crates/data/tests/samples/messages/chats.jsonl");
    let trial = Trial::new();
    let base = trial.path("base");
    std::fs::create_dir(&base).unwrap();
    for file in std::fs::read_dir(root("goldens/chatting")).unwrap().flatten() {
        std::fs::copy(file.path(), base.join(file.file_name())).unwrap();
    }
    let recipe = llava("chatting", "messages", &chats).replace("[instruct]", "[lora]\n[instruct]");
    let recipe = recipe.replace(&root("goldens/chatting"), base.to_str().unwrap());
    trial.train(&recipe, &["instruct.steps=5"], false).unwrap();
    let mut tensors = Directory::open(&base).unwrap().tensors().unwrap();
    let embed = tensors.tensors.get_mut("model.embed_tokens.weight").unwrap();
    let doubled = embed.data().iter().map(|x| 2.0 * x).collect();
    *embed = Tensor::new(embed.shape().to_vec(), doubled).unwrap();
    let bytes = safetensors::write(&tensors, safetensors::Dtype::F32).unwrap();
    std::fs::write(base.join("model.safetensors"), bytes).unwrap();
    let error = trial.train(&recipe, &[], true).unwrap_err();
    assert!(error.contains("1 are others: backbone.embedding.weight"), "{error}");
}

#[test]
fn adapters_that_make_no_sense_are_refused() {
    let chats = root("crates/data/tests/samples/messages/chats.jsonl");
    let recipe = llava("chatting", "messages", &chats);
    let other = format!("from = {:?}", root("goldens/lora/seeing_llava"));
    let gone = "from = 'gone'".to_owned();
    for (lora, says) in [
        ("r = 0", "above 0"),
        ("lora_alpha = nan", "above 0"),
        ("target_modules = ['c_attn']", "there are down_proj, gate_proj"),
        ("rnk = 4", "rnk"),
        ("lora_dropout = 1.0", "below 1"),
        (&other, "lora.from"),
        (&gone, "adapter_config.json"),
    ] {
        let recipe = recipe.replace("[instruct]", &format!("[lora]\n{lora}\n[instruct]"));
        let error = Trial::new().train(&recipe, &[], false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{lora}: {error}");
    }
    let new =
        recipe.replace("[instruct]", "size = 'tiny'\ntokenizer = 'a.json'\n[lora]\n[instruct]");
    let new = new.lines().filter(|line| !line.starts_with("from")).collect::<Vec<_>>().join("\n");
    let error = Trial::new().train(&new, &[], false).unwrap_err();
    assert!(error.contains("lora") && error.contains("model.from"), "{error}");
}

#[test]
fn precision_and_recompute_are_heeded() {
    let dual = (clip("published_clip", "info_nce", &samples()), "run");
    let assistant = (llava("seeing_smolvlm", "folder", &samples()), "run/instruct");
    for (recipe, run) in [dual, assistant] {
        let losses = |sets: &[&str]| {
            let trial = Trial::new();
            trial.train(&recipe, sets, false).unwrap();
            losses(&trial.path(run))
        };
        let plain = losses(&[]);
        assert_eq!(losses(&["recompute=true"]), plain, "{run}");
        assert_ne!(losses(&["precision=bf16"]), plain, "{run}");
    }
}

/// GradCache: each pair by itself, and both at once.
#[test]
fn a_batch_in_chunks_has_the_gradient_of_the_whole() {
    for (golden, loss) in [("published_clip", "info_nce"), ("published_siglip", "sigmoid")] {
        let recipe = clip(golden, loss, &samples());
        let log = |sets: &[&str]| {
            let trial = Trial::new();
            trial.train(&recipe, sets, false).unwrap();
            log::read(&trial.path("run")).unwrap()
        };
        let (whole, chunks) = (log(&["steps=4"]), log(&["steps=4", "accumulate=2"]));
        for (a, b) in whole.iter().zip(&chunks) {
            let off = [(a.loss - b.loss).abs() / a.loss, (a.grad_norm / b.grad_norm - 1.0).abs()];
            assert!(off.iter().all(|off| *off < 1e-5), "{golden}, step {}: {off:?}", a.step);
        }
        // Locked (LiT): the text tower and the scale alone learn, in chunks too.
        let locked = log(&["steps=4", "accumulate=2", "model.train=[\"text\",\"scale\"]"]);
        assert!(locked[3].loss < locked[0].loss, "{golden}: {}", locked[3].loss);
        let recall = |row: &log::Metrics| row.extra["val_recall_text"];
        assert!((0.0..=1.0).contains(&recall(&whole[3])), "{golden}");
    }
    let recipe = clip("published_clip", "info_nce", &samples());
    let alone = recipe.replace("from =", "size = 'tiny'\ntokenizer = 'a.json'\n#");
    let error =
        Trial::new().train(&alone, &["accumulate=2", "caption_weight=1.0"], false).unwrap_err();
    assert!(error.contains("contrastive loss alone"), "{error}");
}

#[test]
fn the_best_is_kept_when_a_run_goes_on() {
    let trial = Trial::new();
    let recipe = clip("published_clip", "info_nce", &samples());
    trial.train(&recipe, &["steps=6"], false).unwrap();
    trial.train(&recipe, &[], true).unwrap();
    let run = trial.path("run");
    let measured: Vec<f64> = log::read(&run)
        .unwrap()
        .iter()
        .filter_map(|metrics| metrics.extra.get("val_loss").copied())
        .collect();
    assert_eq!(measured.len(), 5);
    let state = std::fs::read_to_string(run.join("step-000000010/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let lowest = measured.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(state["best"]["val_loss"].as_f64(), Some(lowest));

    let provenance = |dir: &str| -> serde_json::Value {
        let file = run.join(dir).join("provenance.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    let best = provenance("best");
    assert_eq!(best["steps"], state["best"]["step"]);
    assert_eq!(best["val_loss"], state["best"]["val_loss"]);
    let provenance = provenance("final");
    assert_eq!(provenance["data"][0]["licence"], "CC0");
    assert_eq!(provenance["steps"], 10);
    assert_eq!(provenance["val_loss"].as_f64(), measured.last().copied());
    assert_eq!(provenance["recipe_blake3"].as_str().map(str::len), Some(64));
    assert!(provenance["start"][0].as_str().unwrap().ends_with("published_clip"));
    assert_eq!(provenance["date"].as_str().map(str::len), Some(10));
}

#[test]
fn broken_pictures_are_left_out_and_named() {
    let trial = Trial::new();
    let folder = trial.path("pictures");
    std::fs::create_dir(&folder).unwrap();
    for name in ["red.png", "more/blue.png"] {
        let file = Path::new(name).file_name().unwrap();
        std::fs::copy(Path::new(&samples()).join(name), folder.join(file)).unwrap();
    }
    std::fs::write(folder.join("broken.png"), b"no picture").unwrap();
    let table =
        "file_name,text\nred.png,a red square\nblue.png,a blue square\nbroken.png,nothing\n";
    std::fs::write(folder.join("metadata.csv"), table).unwrap();
    let recipe = clip("published_clip", "info_nce", folder.to_str().unwrap());
    trial.train(&recipe, &[], false).unwrap();
    let bad = std::fs::read_to_string(trial.path("run/bad_samples.jsonl")).unwrap();
    assert!(bad.contains("broken.png"), "{bad}");

    std::fs::remove_file(folder.join("metadata.csv")).unwrap();
    let error = Trial::new().train(&recipe, &[], false).unwrap_err();
    assert!(error.contains("captions") && error.contains("hint:"), "{error}");
}

#[test]
fn what_a_recipe_cannot_train_is_refused_before_the_first_step() {
    let refused = |recipe: &str, sets: &[&str]| {
        let trial = Trial::new();
        let error = trial.train(recipe, sets, false).unwrap_err();
        assert!(error.contains("hint:") && !trial.path("run").exists(), "{error}");
        error
    };
    let recipe = clip("published_clip", "info_nce", &samples());
    let error = refused(&clip("gpt2", "info_nce", &samples()), &[]);
    assert!(error.contains("clip, siglip") && error.contains("gpt2"), "{error}");
    let error = refused(&llava("published_clip", "folder", &samples()), &[]);
    assert!(error.contains("smolvlm") && error.contains("qwen2_5_vl"), "{error}");
    let error = refused(&answering("qwen2_vl"), &["feature_cache=kept"]);
    assert!(error.contains("feature_cache") && error.contains("qwen2_vl"), "{error}");
    let error = refused(&recipe, &["model.form=x"]);
    assert!(error.contains("did you mean `from`"), "{error}");
    let error = refused(&recipe, &["model.size=tiny"]);
    assert!(error.contains("size and from"), "{error}");
    let error = refused(&recipe, &["loss=sigmoid"]);
    assert!(error.contains("info_nce is CLIP's"), "{error}");
    let error = refused(&recipe, &["caption_weight=1.0"]);
    assert!(error.contains("contrastive"), "{error}");
    let error = refused(&recipe, &["data.train=[{kind=\"documents\"}]"]);
    assert!(error.contains("documents") && error.contains("captions"), "{error}");
    let error = refused(&recipe, &["device=gpu"]);
    assert!(error.contains("cpu"), "{error}");
    for (set, says) in [
        ("schedule.learning_rate=0.0", "above 0, got 0"),
        ("schedule.learning_rate=nan", "above 0, got NaN"),
        ("steps=0", "1 or more"),
        ("batch_size=0", "1 or more"),
        ("data.augment={horizontal_flip=2.0}", "a number from 0 to 1"),
        ("data.augment={random_resized_crop=[0.0, 1.0]}", "above 0 and up to 1"),
    ] {
        let error = refused(&recipe, &[set]);
        assert!(error.contains(says), "{set}: {error}");
    }
}
