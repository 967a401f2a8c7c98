// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operators as hosts hold them: from text, a file, the built-in library, or code.
//!
//! In: `.attn` text, or a checked [`Operator`]. Out: an [`Attention`], ready to be compiled.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use attnc_diag::{Diagnostic, SourceMap, render_text};
use attnc_spec::{InvalidOperator, Loaded, Operator, Resolution, STD_FILES, resolve, std_file};
use attnc_syntax::MAX_FILE_BYTES;

use crate::compiler::Compiler;
use crate::engine::EngineError;
use crate::files::{DiskLoader, read_file};
use crate::kernel::Kernel;
use crate::signature::Signature;
use crate::target::Target;

/// Mistakes and warnings with the texts that they point into. Shown as the command shows them, without colour.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    /// By file and place.
    pub list: Vec<Diagnostic>,
    /// The texts.
    pub sources: SourceMap,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(render_text(&self.list, &self.sources, false).trim_end())
    }
}

/// Why there is no operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttentionError {
    /// The text has mistakes, or could not be read.
    #[error("{0}")]
    Text(Diagnostics),
    /// The fields of an operator built in code.
    #[error(transparent)]
    Operator(#[from] InvalidOperator),
    /// The text declares and imports no attention.
    #[error("no attention in {file}")]
    Empty {
        /// The file.
        file: String,
    },
    /// There is no attention of this name.
    #[error("no attention `{name}` in {file}{}", names(known))]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The file.
        file: String,
        /// The names it has.
        known: Vec<String>,
    },
    /// The built-in library has no such file.
    #[error("the library has no file `{path}`; it has {}", known.join(", "))]
    UnknownBuiltin {
        /// The path asked for.
        path: String,
        /// The paths it has.
        known: Vec<&'static str>,
    },
}

/// The names that a file has, at most eight of them.
fn names(known: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = (known.iter().take(SHOWN))
        .map(|name| format!("`{name}`"))
        .collect();
    match (known.len(), known.len().saturating_sub(SHOWN)) {
        (0, _) => String::new(),
        (_, 0) => format!("; it has {}", shown.join(", ")),
        (_, more) => format!("; it has {} and {more} more", shown.join(", ")),
    }
}

/// A checked operator. Cheap to clone.
///
/// What it computes, for batch entry b, query head h (of H, reading key/value head floor(h / (H / H_kv))) and position n:
/// with `c[h,n,m]` the number of branches in which n sees m,
///
/// ```text
/// s[m]   = scale * q[b,n,h] . k[b,m,h_kv]                (scale: 1/sqrt(D) unless set)
/// lse    = log( sum over m of c[h,n,m] * exp(s[m]) )     (-inf where nothing is seen)
/// out    = sum over m of c[h,n,m] * exp(s[m] - lse) * v[b,m,h_kv]
/// ```
///
/// which is dilated attention of LongNet (Ding et al. 2023, <https://arxiv.org/abs/2307.02486>, equations 2 to 15) with its branches
/// mixed by their denominators. In the original code's profile, what a branch shows differs (see [`attnc_spec::Profile`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    operator: Arc<Operator>,
}

impl Attention {
    /// The first attention of an `.attn` text. What the text uses is read from the built-in library and, relative to the working
    /// folder, from disk.
    ///
    /// ```
    /// use attnc::Attention;
    ///
    /// let attention = Attention::parse(
    ///     "attention local { heads = 8, head_dim = 64, branch { segment = 1024 } }",
    /// )?;
    /// assert_eq!(attention.operator().heads, 8);
    ///
    /// // Mistakes come with place, reason and help.
    /// let wrong = Attention::parse("attention local { heads = 0, head_dim = 64 }").unwrap_err();
    /// assert!(wrong.to_string().contains("`heads` cannot be 0"));
    /// # Ok::<(), attnc::AttentionError>(())
    /// ```
    ///
    /// # Errors
    /// [`AttentionError::Text`] with every mistake, [`AttentionError::Empty`].
    pub fn parse(text: &str) -> Result<Attention, AttentionError> {
        AttentionFile::parse(text)?.first()
    }

    /// The first attention of a file.
    ///
    /// # Errors
    /// [`AttentionError::Text`] with every mistake, or why the file cannot be read; [`AttentionError::Empty`].
    pub fn load(path: impl AsRef<Path>) -> Result<Attention, AttentionError> {
        AttentionFile::load(path)?.first()
    }

    /// The first attention of a file of the built-in library, such as `std/longnet.attn`; for the others see [`AttentionFile`].
    ///
    /// # Errors
    /// [`AttentionError::UnknownBuiltin`].
    pub fn builtin(path: &str) -> Result<Attention, AttentionError> {
        AttentionFile::builtin(path)?.first()
    }

    /// An operator built in code ([`Operator::builder`]), checked once more.
    ///
    /// ```
    /// use attnc::{Attention, Operator};
    ///
    /// let operator = Operator::builder("two_levels", 8, 64).branch(2048, 1).branch(4096, 2).build()?;
    /// let attention = Attention::new(operator)?;
    /// assert_eq!(attention.operator().branches.len(), 2);
    /// # Ok::<(), attnc::InvalidOperator>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with its fields.
    pub fn new(operator: Operator) -> Result<Attention, InvalidOperator> {
        operator.validate().map_err(InvalidOperator)?;
        Ok(Attention {
            operator: Arc::new(operator),
        })
    }

    /// The operator's fields.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Names, sizes and types of its tensors.
    pub fn signature(&self) -> Signature {
        Signature::from(&*self.operator)
    }

    /// Compiles for `target`, by the default choices and without a cache; a [`Compiler`] has more to choose.
    ///
    /// # Errors
    /// What the target cannot do, and what to do instead.
    pub fn compile(&self, target: &Target) -> Result<Kernel, EngineError> {
        Compiler::new(target).compile(self)
    }
}

impl From<Attention> for Arc<Operator> {
    fn from(attention: Attention) -> Arc<Operator> {
        attention.operator
    }
}

/// All attentions of one `.attn` file.
#[derive(Clone, Debug)]
pub struct AttentionFile {
    name: String,
    own: Vec<Attention>,
    imported: Vec<Attention>,
    warnings: Diagnostics,
}

impl AttentionFile {
    /// Reads a text; see [`Attention::parse`].
    ///
    /// # Errors
    /// [`AttentionError::Text`].
    pub fn parse(text: &str) -> Result<AttentionFile, AttentionError> {
        AttentionFile::resolve(Ok(Loaded::text("<text>", text)))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`AttentionError::Text`].
    pub fn load(path: impl AsRef<Path>) -> Result<AttentionFile, AttentionError> {
        let path = path.as_ref();
        let read = read_file(path, MAX_FILE_BYTES);
        AttentionFile::resolve(read.map_err(|error| (path.display().to_string(), error)))
    }

    /// A file of the built-in library.
    ///
    /// ```
    /// use attnc::AttentionFile;
    ///
    /// let file = AttentionFile::builtin("std/longnet.attn")?;
    /// assert_eq!(file.get("longnet_350m")?.operator().heads, 16);
    /// # Ok::<(), attnc::AttentionError>(())
    /// ```
    ///
    /// # Errors
    /// [`AttentionError::UnknownBuiltin`].
    pub fn builtin(path: &str) -> Result<AttentionFile, AttentionError> {
        let Some(file) = std_file(path) else {
            return Err(AttentionError::UnknownBuiltin {
                path: path.to_owned(),
                known: STD_FILES.iter().map(|(name, _)| *name).collect(),
            });
        };
        AttentionFile::resolve(Ok(file))
    }

    fn resolve(
        read: Result<Loaded, (String, attnc_spec::LoadError)>,
    ) -> Result<AttentionFile, AttentionError> {
        AttentionFile::new(resolve(vec![read], &mut DiskLoader))
    }

    /// The first file of a resolution.
    ///
    /// # Errors
    /// [`AttentionError::Text`] where any file has a mistake.
    pub fn new(resolution: Resolution) -> Result<AttentionFile, AttentionError> {
        let failed = resolution.has_errors();
        let diagnostics = Diagnostics {
            list: resolution.diagnostics,
            sources: resolution.sources,
        };
        if failed {
            return Err(AttentionError::Text(diagnostics));
        }
        let take = |list: Vec<Arc<Operator>>| {
            list.into_iter()
                .map(|operator| Attention { operator })
                .collect()
        };
        let name = diagnostics.sources.files().next();
        let name = name.map(|(_, file)| file.name().to_owned());
        let file = resolution.files.into_iter().next();
        let (own, imported) = file.map(|f| (f.own, f.imported)).unwrap_or_default();
        Ok(AttentionFile {
            name: name.unwrap_or_default(),
            own: take(own),
            imported: take(imported),
            warnings: diagnostics,
        })
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// The file's own attentions, or what it imports where it has none of its own.
    pub fn attentions(&self) -> &[Attention] {
        if self.own.is_empty() {
            &self.imported
        } else {
            &self.own
        }
    }

    /// The first of [`AttentionFile::attentions`].
    ///
    /// # Errors
    /// [`AttentionError::Empty`].
    pub fn first(&self) -> Result<Attention, AttentionError> {
        let first = self.attentions().first().cloned();
        first.ok_or_else(|| AttentionError::Empty {
            file: self.name.clone(),
        })
    }

    /// The attention of this name, own or imported.
    ///
    /// # Errors
    /// [`AttentionError::UnknownName`] with the names that there are.
    pub fn get(&self, name: &str) -> Result<Attention, AttentionError> {
        let mut all = self.own.iter().chain(&self.imported);
        let found = all.find(|a| a.operator.name == name).cloned();
        found.ok_or_else(|| AttentionError::UnknownName {
            name: name.to_owned(),
            file: self.name.clone(),
            known: (self.own.iter().chain(&self.imported))
                .map(|a| a.operator.name.clone())
                .collect(),
        })
    }
}
