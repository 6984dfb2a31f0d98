// What a person typed, as one word of a shell: it's -> 'it'\''s'
def quoted(text) {
    "'" + text.toString().replace("'", "'\\''") + "'"
}
