//! Reads an XML document into a tree: as much of XML as SOAP needs, and no more.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};

/// Deeper documents are refused: SOAP needs eight levels, and the tree is dropped by recursion.
const DEEPEST: usize = 64;

/// An element with what it contains.
#[derive(Debug, Default)]
pub(super) struct Element {
    namespace: String,
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

/// Not an XML document that SOAP allows.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    #[error("not well-formed: {0}")]
    Syntax(#[from] quick_xml::Error),
    #[error("not well-formed: an attribute: {0}")]
    Attribute(#[from] quick_xml::events::attributes::AttrError),
    #[error("not well-formed: an attribute's value: {0}")]
    AttributeValue(String),
    #[error("a document type declaration, which SOAP forbids")]
    DocumentType,
    #[error("the unknown entity `&{0};`")]
    Entity(String),
    #[error("more than {DEEPEST} levels")]
    Depth,
    #[error("no root element, or more than one")]
    Root,
}

impl Element {
    /// Reads a document.
    pub(super) fn parse(document: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(document)?;
        let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Self> = Vec::new();
        let mut root: Option<Self> = None;
        loop {
            match reader.read_resolved_event()? {
                (namespace, Event::Start(start)) => {
                    if open.len() >= DEEPEST {
                        return Err(Malformed::Depth);
                    }
                    open.push(Self::start(&namespace, &start)?);
                }
                (_, Event::End(_)) => {
                    let closed = open.pop().ok_or(Malformed::Root)?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(closed),
                        None if root.is_none() => root = Some(closed),
                        None => return Err(Malformed::Root),
                    }
                }
                (_, Event::Text(text)) => add_text(&mut open, &text.xml10_content()),
                (_, Event::CData(text)) => add_text(&mut open, &text.xml10_content()),
                (_, Event::GeneralRef(reference)) => add_text(&mut open, resolve(&reference)?.encode_utf8(&mut [0; 4])),
                (_, Event::DocType(_)) => return Err(Malformed::DocumentType),
                (_, Event::Eof) => break,
                (_, Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_)) => {}
            }
        }
        match root {
            Some(root) if open.is_empty() => Ok(root),
            _ => Err(Malformed::Root),
        }
    }

    fn start(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Result<Self, Malformed> {
        let mut element = Self { name: start.local_name().as_ref().to_owned(), ..Self::default() };
        if let ResolveResult::Bound(namespace) = namespace {
            element.namespace = namespace.0.to_owned();
        }
        for attribute in start.attributes() {
            let attribute = attribute?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| Malformed::AttributeValue(error.to_string()))?;
            element.attributes.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    /// Whether it is this element of this namespace.
    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// Its first child of this name.
    pub(super) fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    /// Its children of this name.
    pub(super) fn children<'a>(&'a self, namespace: &'a str, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.is(namespace, name))
    }

    /// The value of an attribute, found by its local name.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The text directly in it, as it was sent.
    pub(super) fn raw_text(&self) -> &str {
        &self.text
    }

    /// The text directly in it, without white space around.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, Malformed> {
    let unknown = || Malformed::Entity(reference.chars().take(32).collect());
    if let Some(character) = reference.resolve_char_ref().map_err(|_| unknown())? {
        return Ok(character);
    }
    match &**reference {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_namespace_whatever_their_prefix() {
        let document = br#"<?xml version="1.0"?><a:r xmlns:a="urn:a" xmlns="urn:b"><c x:n="1 &amp; 2" xmlns:x="urn:x">
            t &lt;&#65;<![CDATA[<&]]> </c><a:c/></a:r>"#;
        let root = Element::parse(document).unwrap();
        assert!(root.is("urn:a", "r"));
        let c = root.child("urn:b", "c").unwrap();
        assert_eq!((c.text(), c.attribute("n")), ("t <A<&", Some("1 & 2")));
        assert!(root.child("urn:a", "c").unwrap().text().is_empty());
        assert!(root.child("urn:c", "c").is_none());
    }

    #[test]
    fn what_soap_forbids_or_xml_does_not_allow_is_refused() {
        let deep = "<a>".repeat(65) + &"</a>".repeat(65);
        for document in
            ["", "text", "<a>", "<a/><b/>", "<a></b>", "<!DOCTYPE a><a/>", "<a>&b;</a>", "<a b='&c;'/>", &deep]
        {
            assert!(Element::parse(document.as_bytes()).is_err(), "{document}");
        }
        assert!(Element::parse(&[b'<', 0xff, b'>']).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(document: Vec<u8>) {
            let _ = Element::parse(&document);
        }
    }
}
