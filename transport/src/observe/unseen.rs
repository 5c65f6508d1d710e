//! Which characters of a text from elsewhere are not shown as they are. Pure.
//!
//! A terminal obeys some, and others have no width: they hide what is beside them, break lines or turn their direction around.
//! One list for all who show a peer's or a server's words. It says nothing of letters that look like others.

/// Whether a character commands a terminal or cannot be seen on one: control characters, what Unicode calls ignorable by default,
/// the separators of lines and paragraphs, and the anchors of annotations.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_hides_or_turns_around_is_not_shown() {
        for range in [
            '\0'..='\u{1f}',           // ESC, and the ends of lines
            '\u{7f}'..='\u{9f}',       // DEL, and CSI in one character
            '\u{ad}'..='\u{ad}',       // soft hyphen
            '\u{34f}'..='\u{34f}',     // joins graphemes
            '\u{61c}'..='\u{61c}',     // directions
            '\u{115f}'..='\u{1160}',   // fillers of Hangul
            '\u{180e}'..='\u{180e}',   // a vowel separator without a width
            '\u{200b}'..='\u{200f}',   // spaces without a width, directions
            '\u{2028}'..='\u{202e}',   // lines, paragraphs, directions
            '\u{2060}'..='\u{206f}',   // directions, what cannot be seen
            '\u{3164}'..='\u{3164}',   // a filler
            '\u{fe00}'..='\u{fe0f}',   // variations
            '\u{feff}'..='\u{feff}',   // byte order
            '\u{ffa0}'..='\u{ffa0}',   // a filler
            '\u{fff9}'..='\u{fffb}',   // annotations
            '\u{e0000}'..='\u{e007f}', // tags
            '\u{e0100}'..='\u{e01ef}', // variations
        ] {
            for c in range {
                assert!(is_unseen(c), "U+{:04X}", u32::from(c));
            }
        }
        for c in "aä ~\u{a0}\u{ac}\u{ae}шש日本한🦀e\u{301}\u{fffc}\u{fffd}/[]\"\\".chars() {
            assert!(!is_unseen(c), "U+{:04X}", u32::from(c));
        }
    }
}
