//! [`Sources`]: the `[source.NAME]` tables as stages see them.

use std::collections::BTreeMap;

use crate::base::value::{Params, Value};
use crate::pipeline::coerce::coerce;
use crate::pipeline::doc::Item;
use crate::pipeline::source::{Diags, wrong};
use crate::pipeline::spec::Spec;
use crate::pipeline::subst::{Scan, Scope};
use crate::stages::stage::Type;

/// The resolved `[source.NAME]` tables.
pub type Sources = BTreeMap<String, Value>;

/// Returns every `[source.NAME]` as a stage sees it: `{ name, url, verify, files }`.
pub fn sources(spec: &Spec, scope: &Scope, diags: &mut Diags) -> Sources {
    let mut sources = Sources::new();
    for source in &spec.sources {
        let owner = format!("source `{}`", source.name.text);
        let mut text = |item: &Item| match scope.scan(item, &owner, &[], diags) {
            Scan::Bad => None,
            _ => coerce(&scope.resolve(item, &|_| 0), &Type::Str).ok(),
        };
        let mut files = Params::new();
        for file in &source.files {
            let mut fields = Params::new();
            fields.extend(text(&file.path).map(|p| ("path".to_owned(), p)));
            fields.extend(file.sha256.as_ref().map(|w| ("sha256".to_owned(), Value::Str(w.text.to_ascii_lowercase()))));
            fields.extend(file.bytes.as_ref().map(|(n, _)| ("bytes".to_owned(), Value::Int(*n as i64))));
            files.insert(file.key.text.clone(), Value::Table(fields));
        }
        let url = text(&source.url);
        if let Some(Value::Str(url)) = &url
            && !["https://", "http://", "file:"].iter().any(|scheme| url.starts_with(scheme))
        {
            let diag =
                wrong(&source.url.span, format!("`url` of {owner} must begin with `https://`, `http://` or `file:`"));
            diags.push(diag.help("a folder beside the pipeline file is `file:folder`"));
        }
        let mut fields = Params::from([
            ("name".to_owned(), Value::Str(source.name.text.clone())),
            ("verify".to_owned(), Value::Bool(source.verify)),
            ("files".to_owned(), Value::Table(files)),
        ]);
        fields.extend(url.map(|u| ("url".to_owned(), u)));
        sources.insert(source.name.text.clone(), Value::Table(fields));
    }
    sources
}
