// How files of several samples are put in order and together.

// One row per sample as soon as it has all its files: ['demo', output_1.pt], … -> ['demo', [output_1.pt, …]]
def groupFiles(files, sizes) {
    files.combine(sizes, by: 0)
        .map { sample, path, size -> [groupKey(sample, size), path] }
        .groupTuple(sort: { a, b -> a.name <=> b.name })
        .map { key, paths -> [key.target, paths] }
}

// ['demo', output_12.fa] -> a text that sorts by sample, then by number
def fileOrder(row) {
    "${row[0]} ${row[1].baseName.tokenize('_')[-1].padLeft(9, '0')}".toString()
}
