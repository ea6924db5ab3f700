"""The content: vetted articles, their bibliography, the glossary and the safety policy, with their only readers."""
