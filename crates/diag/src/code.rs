// SPDX-License-Identifier: Apache-2.0 OR MIT
//! THE table of diagnostic codes: each distinct mistake has a code, a title and a page that says how it comes about and how to
//! repair it (`pages/CODE.md`, with an example that is wrong and one that is right; both are tested).
//!
//! `E01..` the text, `E02..` names, `E03..` values, `E04..` operators, `E05..` files, `W..` what is allowed but probably not meant.
//! Codes are never reused: a code that is no longer produced leaves a gap.

use crate::Severity;

macro_rules! codes {
    ($($name:ident $id:literal $title:literal;)*) => {
        /// A kind of mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as printed: `E0107`, `W03`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$name => $id,)* }
            }

            /// What the code stands for, on one line.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// The page in Markdown, without its heading.
            pub fn page(self) -> &'static str {
                match self { $(Code::$name => include_str!(concat!("../pages/", $id, ".md")),)* }
            }
        }
    };
}

codes! {
    UnexpectedCharacter    "E0101" "a character that has no place in the language";
    UnterminatedComment    "E0102" "a block comment that is not closed";
    UnterminatedString     "E0103" "a string that is not closed on its line";
    UnknownEscape          "E0104" "an unknown escape in a string";
    MalformedNumber        "E0105" "a malformed number";
    NumberSuffix           "E0106" "an unknown suffix of a number";
    NumberTooLarge         "E0107" "a number that 64 bits do not hold";
    FileTooLarge           "E0108" "a file of more than 1 MiB";
    NotUtf8                "E0109" "a file that is not UTF-8";
    NestingTooDeep         "E0110" "nesting deeper than 128";
    UnexpectedToken        "E0111" "something else was expected here";
    Unclosed               "E0112" "a bracket or brace that is not closed";
    MissingComma           "E0113" "two fields on one line without a comma";
    InclusiveRange         "E0114" "`..=`, which the language does not have";
    RangeAsValue           "E0115" "a range outside `for`";
    StringAsValue          "E0116" "a string where a value is expected";
    KeywordAsName          "E0117" "a keyword used as a name";
    UnknownEdition         "E0118" "an edition that does not exist";
    EditionNotFirst        "E0119" "an `edition` that does not stand first";
    FieldOutOfPlace        "E0120" "a field where none can stand";
    ItemOutOfPlace         "E0121" "an item where it cannot stand";
    MissingWith            "E0122" "a copied attention without `with`";
    TooManyMistakes        "E0123" "more mistakes than one run reports";

    UnknownName            "E0201" "an unknown name";
    UnknownFunction        "E0202" "an unknown function";
    UnknownField           "E0203" "an unknown field";
    NameGivenTwice         "E0204" "a name given twice in one scope";
    FieldGivenTwice        "E0205" "a field given twice";
    ReservedWord           "E0206" "a field word given another meaning";
    LetCycle               "E0207" "a `let` that depends on itself";
    FieldCycle             "E0208" "a field that depends on itself";
    WithCycle              "E0209" "an attention that copies itself";
    NotAValue              "E0210" "an attention or a function used as a value";
    UnknownAttention       "E0211" "an unknown attention after `=`";
    NotAnAttention         "E0212" "a `let` after `=` where an attention is expected";
    FieldReadOutside       "E0213" "a field's name read outside a field's expression";
    MissingField           "E0214" "a required field is missing";
    NoBranch               "E0215" "an attention without a branch";
    ArgumentCount          "E0216" "a wrong number of arguments";
    FieldOfOtherBlock      "E0217" "a field in the wrong block";

    OperandType            "E0301" "an operator on values it does not take";
    IntegerOverflow        "E0302" "an integer that overflows 64 bits";
    InexactDivision        "E0303" "a division of integers that leaves a remainder";
    DivisionByZero         "E0304" "a division by zero";
    NegativeExponent       "E0305" "an integer to a negative power";
    NonFinite              "E0306" "a result that is not a finite number";
    IndexOutOfRange        "E0307" "an index outside its list";
    NotAList               "E0308" "something that is no list used as one";
    ArgumentType           "E0309" "an argument of the wrong type";
    ArgumentRange          "E0310" "an argument out of range";
    ListTooLong            "E0311" "a list of more than 65536 elements";
    TooManyIterations      "E0312" "more than 65536 loop iterations";
    RangeBound             "E0313" "a range whose bounds are not integers";
    TooMuchWork            "E0314" "a file that takes too long to evaluate";
    ListTooDeep            "E0315" "a list value nested deeper than 128";

    FieldType              "E0401" "a field's value of the wrong type";
    FieldWord              "E0402" "a word that the field does not know";
    FieldRange             "E0403" "a field's value out of range";
    KvHeads                "E0404" "`kv_heads` that does not divide `heads`";
    TooManyBranches        "E0405" "more than 1024 branches";
    WithTooDeep            "E0406" "more than 64 `with` on top of each other";
    TooManyBranchesInAll   "E0407" "more than 1048576 branches in all operators together";
    ScaleRange             "E0408" "a `scale` that is not a positive normal f32";

    FileNotFound           "E0501" "a file that does not exist";
    FileUnreadable         "E0502" "a file that cannot be read";
    AbsolutePath           "E0503" "an absolute path in `use`";
    UseCycle               "E0504" "files that use each other";
    NameClash              "E0505" "an imported name that is already taken";
    UseTooDeep             "E0506" "more than 64 `use` on top of each other";
    UnknownStd             "E0507" "an unknown file of the built-in library";

    HeadNeverCovered       "W01" "a head that some branch never covers";
    OffsetWithoutHead      "W02" "an offset that no head has";
    UncoveredPosition      "W03" "a position that no branch covers";
    SegmentNotDivided      "W04" "a segment that its dilation does not divide";
    DuplicateBranch        "W05" "two identical branches";
    DilationBeyondSegment  "W06" "a dilation as large as its segment or larger";
    UnusedLet              "W07" "a `let` that is never used";
}

impl Code {
    /// The code with that id, in any case of letters.
    pub fn from_id(id: &str) -> Option<Code> {
        Code::ALL
            .iter()
            .copied()
            .find(|code| code.id().eq_ignore_ascii_case(id))
    }

    /// Errors begin with `E`, warnings with `W`.
    pub fn severity(self) -> Severity {
        if self.id().starts_with('W') {
            Severity::Warning
        } else {
            Severity::Error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_found() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_id(&code.id().to_lowercase()), Some(*code));
            assert!(
                Code::ALL[..i]
                    .iter()
                    .all(|other| other.id() != code.id() && other.title() != code.title())
            );
        }
        assert_eq!(Code::from_id("E9999"), None);
    }

    #[test]
    fn every_code_has_a_page_with_both_examples() {
        for code in Code::ALL {
            assert!(code.page().contains("Right:"), "{}", code.id());
            assert!(code.page().len() > 60, "{}", code.id());
        }
    }
}
