//! Instances of management classes as text: CIM-XML of the DTD 2.0, which the methods of Hyper-V's WMI classes take as
//! arguments (the form that `IWbemObjectTextSrc` gives as `WMI_OBJ_TEXT_WMI_DTD_2_0`).

/// The value of a property.
pub(super) enum Value<'a> {
    /// A `string`.
    Text(&'a str),
    /// A `uint16`.
    Number(u16),
    /// A `string[]`.
    Texts(&'a [&'a str]),
}

/// An instance of a class with some of its properties; the others have the defaults of the class.
pub(super) fn embedded_instance(class: &str, properties: &[(&str, Value<'_>)]) -> String {
    let mut xml = format!("<INSTANCE CLASSNAME=\"{}\">", escape(class));
    for (name, value) in properties {
        let name = escape(name);
        xml += &match value {
            Value::Text(text) => {
                format!("<PROPERTY NAME=\"{name}\" TYPE=\"string\"><VALUE>{}</VALUE></PROPERTY>", escape(text))
            }
            Value::Number(number) => {
                format!("<PROPERTY NAME=\"{name}\" TYPE=\"uint16\"><VALUE>{number}</VALUE></PROPERTY>")
            }
            Value::Texts(texts) => {
                let values: String = texts.iter().map(|text| format!("<VALUE>{}</VALUE>", escape(text))).collect();
                format!(
                    "<PROPERTY.ARRAY NAME=\"{name}\" TYPE=\"string\"><VALUE.ARRAY>{values}</VALUE.ARRAY></PROPERTY.ARRAY>"
                )
            }
        };
    }
    xml + "</INSTANCE>"
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_written() {
        let computer = r#"\\WIN01\root\virtualization\v2:Msvm_ComputerSystem.Name="WIN01""#;
        let text = embedded_instance(
            "Msvm_EthernetPortAllocationSettingData",
            &[
                ("ElementName", Value::Text("a <b> & 'c'")),
                ("ResourceType", Value::Number(33)),
                ("HostResource", Value::Texts(&[computer])),
            ],
        );
        assert_eq!(
            text,
            "<INSTANCE CLASSNAME=\"Msvm_EthernetPortAllocationSettingData\">\
             <PROPERTY NAME=\"ElementName\" TYPE=\"string\"><VALUE>a &lt;b&gt; &amp; &apos;c&apos;</VALUE></PROPERTY>\
             <PROPERTY NAME=\"ResourceType\" TYPE=\"uint16\"><VALUE>33</VALUE></PROPERTY>\
             <PROPERTY.ARRAY NAME=\"HostResource\" TYPE=\"string\"><VALUE.ARRAY>\
             <VALUE>\\\\WIN01\\root\\virtualization\\v2:Msvm_ComputerSystem.Name=&quot;WIN01&quot;</VALUE>\
             </VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>"
        );
    }

    #[test]
    fn an_instance_with_defaults_only_is_empty() {
        assert_eq!(embedded_instance("A", &[]), "<INSTANCE CLASSNAME=\"A\"></INSTANCE>");
    }
}
