"""Record by record, window by window, letter by letter: what faster code is compared with."""
