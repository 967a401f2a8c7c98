// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The life of a session: initialise, serve, shut down, exit.
//!
//! In: messages. Out: answers, and diagnostics after every change: for each open file, for what it uses, and again for every file that uses
//! the one that changed. A question that cannot be read gets an error and nothing else happens.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use attnc_spec::{Loader, inspect};
use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types::notification::{self as note, Notification as _};
use lsp_types::request::{self as ask, Request as _};
use lsp_types::{
    CompletionOptions, CompletionResponse, DocumentSymbolResponse, GotoDefinitionResponse,
    HoverProviderCapability, InitializeParams, InitializeResult, OneOf, PublishDiagnosticsParams,
    ServerCapabilities, ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextDocumentSyncOptions, Uri,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answers::{Analysis, Desk};
use crate::documents::{Canonical, Document, Documents, Overlay};
use crate::position::Encoding;
use crate::transport::{self, Incoming};

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `exit` after `shutdown`.
    Clean,
    /// `exit` without `shutdown`, or the stream ended.
    Abrupt,
}

/// Serves one client. `disk` loads files that no editor holds; `canonical` is the one name of a path on disk.
///
/// # Errors
/// What the system says about the streams.
pub fn serve(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    disk: &mut dyn Loader,
    canonical: &dyn Fn(&Path) -> PathBuf,
) -> io::Result<End> {
    let mut server = Server {
        output,
        disk,
        canonical,
        stage: Stage::New,
        encoding: Encoding::Utf16,
        documents: Documents::default(),
        analyses: BTreeMap::new(),
        published: BTreeMap::new(),
    };
    loop {
        match transport::read(input)? {
            Incoming::End => return Ok(End::Abrupt),
            Incoming::Garbage(what) => server.garbage(&what)?,
            Incoming::Message(Message::Request(request)) => server.request(request)?,
            // Nothing is asked of the client.
            Incoming::Message(Message::Response(_)) => {}
            Incoming::Message(Message::Notification(n)) if n.method == note::Exit::METHOD => {
                return Ok(match server.stage {
                    Stage::Down => End::Clean,
                    Stage::New | Stage::Up => End::Abrupt,
                });
            }
            Incoming::Message(Message::Notification(n)) => server.notification(n)?,
        }
    }
}

/// How far the session has come.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    New,
    Up,
    Down,
}

/// Diagnostics as sent.
type Sent = Vec<lsp_types::Diagnostic>;

struct Server<'a> {
    output: &'a mut dyn Write,
    disk: &'a mut dyn Loader,
    canonical: Canonical<'a>,
    stage: Stage,
    encoding: Encoding,
    documents: Documents,
    /// What is known of each open file.
    analyses: BTreeMap<String, Analysis>,
    /// The diagnostics that the client shows, by key of the file.
    published: BTreeMap<String, (Uri, Sent)>,
}

/// Why a question has no answer.
struct Refusal(ErrorCode, String);

impl Server<'_> {
    fn send(&mut self, message: Message) -> io::Result<()> {
        message.write(&mut self.output)
    }

    /// An error that belongs to no question.
    fn garbage(&mut self, what: &str) -> io::Result<()> {
        let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": ErrorCode::ParseError as i32, "message": what}});
        let text = error.to_string();
        write!(self.output, "Content-Length: {}\r\n\r\n{text}", text.len())?;
        self.output.flush()
    }

    fn request(&mut self, request: Request) -> io::Result<()> {
        let id = request.id.clone();
        let answer = match (self.stage, request.method.as_str()) {
            (Stage::New, ask::Initialize::METHOD) => self.initialize(request.params),
            (Stage::New, _) => Err(Refusal(
                ErrorCode::ServerNotInitialized,
                "`initialize` comes first".to_owned(),
            )),
            (Stage::Down, _) => Err(Refusal(
                ErrorCode::InvalidRequest,
                "only `exit` comes after `shutdown`".to_owned(),
            )),
            (Stage::Up, ask::Initialize::METHOD) => Err(Refusal(
                ErrorCode::InvalidRequest,
                "`initialize` comes once".to_owned(),
            )),
            (Stage::Up, ask::Shutdown::METHOD) => {
                self.stage = Stage::Down;
                Ok(Value::Null)
            }
            (Stage::Up, _) => self.answer(request),
        };
        self.respond(id, answer)
    }

    fn respond(&mut self, id: RequestId, answer: Result<Value, Refusal>) -> io::Result<()> {
        let response = match answer {
            Ok(value) => Response::new_ok(id, value),
            Err(Refusal(code, message)) => Response::new_err(id, code as i32, message),
        };
        self.send(response.into())
    }

    fn initialize(&mut self, params: Value) -> Result<Value, Refusal> {
        let params: InitializeParams = read(params)?;
        let offered = params
            .capabilities
            .general
            .and_then(|g| g.position_encodings);
        self.encoding = Encoding::choose(offered.as_deref());
        self.stage = Stage::Up;
        let sync = TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            ..TextDocumentSyncOptions::default()
        };
        let capabilities = ServerCapabilities {
            position_encoding: Some(self.encoding.kind()),
            text_document_sync: Some(TextDocumentSyncCapability::Options(sync)),
            hover_provider: Some(HoverProviderCapability::Simple(true)),
            definition_provider: Some(OneOf::Left(true)),
            references_provider: Some(OneOf::Left(true)),
            document_symbol_provider: Some(OneOf::Left(true)),
            document_formatting_provider: Some(OneOf::Left(true)),
            document_range_formatting_provider: Some(OneOf::Left(true)),
            completion_provider: Some(CompletionOptions {
                trigger_characters: Some(["=", "{", "\""].map(str::to_owned).into()),
                ..CompletionOptions::default()
            }),
            ..ServerCapabilities::default()
        };
        Ok(write(InitializeResult {
            capabilities,
            server_info: Some(ServerInfo {
                name: "attnc".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
        }))
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            documents: &self.documents,
            encoding: self.encoding,
        }
    }

    fn key(&self, uri: &Uri) -> String {
        Documents::key(uri, self.canonical)
    }

    /// What is known of an open file.
    fn analysis(&self, uri: &Uri) -> Result<&Analysis, Refusal> {
        self.analyses.get(&self.key(uri)).ok_or_else(|| {
            let message = format!("{} is not open", uri.as_str());
            Refusal(ErrorCode::InvalidParams, message)
        })
    }

    fn answer(&self, request: Request) -> Result<Value, Refusal> {
        let desk = self.desk();
        match request.method.as_str() {
            ask::HoverRequest::METHOD => {
                let p: lsp_types::HoverParams = read(request.params)?;
                let at = p.text_document_position_params;
                let analysis = self.analysis(&at.text_document.uri)?;
                Ok(write(desk.hover(analysis, at.position)))
            }
            ask::GotoDefinition::METHOD => {
                let p: lsp_types::GotoDefinitionParams = read(request.params)?;
                let at = p.text_document_position_params;
                let analysis = self.analysis(&at.text_document.uri)?;
                let place = desk.definition(analysis, at.position);
                Ok(write(place.map(GotoDefinitionResponse::Scalar)))
            }
            ask::References::METHOD => {
                let p: lsp_types::ReferenceParams = read(request.params)?;
                let at = p.text_document_position;
                let analysis = self.analysis(&at.text_document.uri)?;
                let declaration = p.context.include_declaration;
                Ok(write(desk.references(analysis, at.position, declaration)))
            }
            ask::Completion::METHOD => {
                let p: lsp_types::CompletionParams = read(request.params)?;
                let at = p.text_document_position;
                let analysis = self.analysis(&at.text_document.uri)?;
                let items = desk.completion(analysis, at.position);
                Ok(write(CompletionResponse::Array(items)))
            }
            ask::DocumentSymbolRequest::METHOD => {
                let p: lsp_types::DocumentSymbolParams = read(request.params)?;
                let analysis = self.analysis(&p.text_document.uri)?;
                let symbols = desk.symbols(analysis);
                Ok(write(DocumentSymbolResponse::Nested(symbols)))
            }
            ask::Formatting::METHOD => {
                let p: lsp_types::DocumentFormattingParams = read(request.params)?;
                self.format(&p.text_document.uri, None)
            }
            ask::RangeFormatting::METHOD => {
                let p: lsp_types::DocumentRangeFormattingParams = read(request.params)?;
                self.format(&p.text_document.uri, Some(p.range))
            }
            other => Err(Refusal(
                ErrorCode::MethodNotFound,
                format!("no request `{other}`"),
            )),
        }
    }

    fn format(&self, uri: &Uri, within: Option<lsp_types::Range>) -> Result<Value, Refusal> {
        let analysis = self.analysis(uri)?;
        let text = analysis.resolution.sources.text(analysis.file);
        match self.desk().format(text, within) {
            Some(edits) => Ok(write(edits)),
            None => Err(Refusal(
                ErrorCode::RequestFailed,
                "a file with syntax errors is not formatted".to_owned(),
            )),
        }
    }

    fn notification(&mut self, n: Notification) -> io::Result<()> {
        // What cannot be read has no answer to be refused in, and before `initialize` or after `shutdown` nothing is heard.
        if self.stage != Stage::Up {
            return Ok(());
        }
        match n.method.as_str() {
            note::DidOpenTextDocument::METHOD => {
                let Ok(p) = read::<lsp_types::DidOpenTextDocumentParams>(n.params) else {
                    return Ok(());
                };
                let d = p.text_document;
                let key = self.key(&d.uri);
                let document = Document {
                    uri: d.uri,
                    version: d.version,
                    text: d.text,
                };
                self.documents.open.insert(key.clone(), document);
                self.check(Some(&key))
            }
            note::DidChangeTextDocument::METHOD => {
                let Ok(p) = read::<lsp_types::DidChangeTextDocumentParams>(n.params) else {
                    return Ok(());
                };
                let key = self.key(&p.text_document.uri);
                let Some(document) = self.documents.open.get_mut(&key) else {
                    return Ok(());
                };
                document.version = p.text_document.version;
                document.change(p.content_changes, self.encoding);
                self.check(Some(&key))
            }
            note::DidCloseTextDocument::METHOD => {
                let Ok(p) = read::<lsp_types::DidCloseTextDocumentParams>(n.params) else {
                    return Ok(());
                };
                let key = self.key(&p.text_document.uri);
                self.documents.open.remove(&key);
                self.check(None)
            }
            note::DidSaveTextDocument::METHOD | note::DidChangeWatchedFiles::METHOD => {
                self.check(None)
            }
            _ => Ok(()),
        }
    }

    /// Checks every open file and sends what has changed; `changed`: a file whose diagnostics are sent anyway, for its new version.
    fn check(&mut self, changed: Option<&str>) -> io::Result<()> {
        let mut found: BTreeMap<String, Sent> = BTreeMap::new();
        self.analyses.clear();
        for key in self.documents.open.keys() {
            let Some(loaded) = self.documents.loaded(key) else {
                continue;
            };
            let mut overlay = Overlay {
                documents: &self.documents,
                disk: self.disk,
            };
            let (resolution, index) = inspect(vec![Ok(loaded)], &mut overlay);
            let Some(file) = index.file(key) else {
                continue;
            };
            let analysis = Analysis {
                resolution,
                index,
                file,
            };
            found.entry(key.clone()).or_default();
            for (file, list) in self.desk().diagnostics(&analysis) {
                let own = file == *key;
                let all = found.entry(file.clone()).or_default();
                // An open file speaks for itself, warnings included; others by whoever uses them.
                if own || !self.documents.open.contains_key(&file) {
                    for d in list {
                        if !all.contains(&d) {
                            all.push(d);
                        }
                    }
                }
            }
            self.analyses.insert(key.clone(), analysis);
        }
        // Files that nobody speaks of any more are clean.
        for key in self.published.keys() {
            found.entry(key.clone()).or_default();
        }
        for (key, list) in found {
            let before = self.published.get(&key);
            let open = self.documents.open.get(&key);
            let uri = match (self.documents.uri(&key), before) {
                (Some(uri), _) => uri,
                (None, Some((uri, _))) => uri.clone(),
                (None, None) => continue,
            };
            let shown = before.map_or(&[][..], |(_, list)| list);
            if changed != Some(&key) && shown == list {
                continue;
            }
            let version = open.map(|d| d.version);
            let params = PublishDiagnosticsParams::new(uri.clone(), list.clone(), version);
            if list.is_empty() && open.is_none() {
                self.published.remove(&key);
            } else {
                self.published.insert(key, (uri, list));
            }
            let method = note::PublishDiagnostics::METHOD.to_owned();
            self.send(Notification::new(method, params).into())?;
        }
        Ok(())
    }
}

/// Parameters as their type.
fn read<P: DeserializeOwned>(params: Value) -> Result<P, Refusal> {
    serde_json::from_value(params).map_err(|e| Refusal(ErrorCode::InvalidParams, e.to_string()))
}

/// An answer as JSON; the protocol's types always have one.
fn write(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap_or(Value::Null)
}
