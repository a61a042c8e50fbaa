//! Choices with names, each spelled in one place.

/// Gives an enum of named choices the list `ALL`, its file spelling by `name` and `Display`, and
/// `FromStr`, whose error names the setting and lists the choices.
macro_rules! spelled {
    ($type:ident, $setting:literal, $($variant:ident => $name:literal),+ $(,)?) => {
        #[allow(unreachable_pub, reason = "the type may be the crate's own")]
        impl $type {
            /// Every choice, in the order of the declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name, as files and the command line spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }

        impl core::str::FromStr for $type {
            type Err = $crate::error::Error;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let known = Self::ALL.into_iter().find(|choice| choice.name() == name);
                known.ok_or_else(|| {
                    $crate::error::Error::unknown($setting, name, Self::ALL.map(Self::name))
                })
            }
        }
    };
}

pub(crate) use spelled;
