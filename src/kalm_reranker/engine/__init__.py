"""The online path: queries against passage states."""
