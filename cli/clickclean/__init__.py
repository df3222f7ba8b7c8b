"""The command ``clickclean``: thin verbs over the packages, each imported when it is used."""
