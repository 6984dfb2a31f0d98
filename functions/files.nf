// How files of several samples are put in order and together, and shared out among tasks.

// One row per sample as soon as it has all its files: ['demo', output_1.pt], ... -> ['demo', [output_1.pt, ...]]
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

// Files as tasks take them, once all are there: ['demo', output_1.fa], ... -> ['_1', ['demo', 'demo'], [output_1.fa, output_2.fa]], ...
// `files_per_task` is told how many there are, and says how many a task takes at most (0: all); `name` tells stages, and
// ways of sharing out, apart.
def inTasks(files, name, files_per_task) {
    def record = workflow.workDir.resolve(".${name}-${workflow.sessionId}.json")
    files.toSortedList { a, b -> fileOrder(a) <=> fileOrder(b) }
        .flatMap { rows -> tasksOf(rows, files_per_task.call(rows.size()), record) }
}

// The sorted `rows` in tasks. What went together in an earlier run of this session still does, so that -resume with one
// sample more finds the other tasks in the cache; `record` is the file that says what did.
def tasksOf(rows, files_per_task, record) {
    def row_of = rows.collectEntries { row -> [row[1].toUriString(), row] }
    def earlier = record.exists() ? new groovy.json.JsonSlurper().parseText(record.text) : []
    def kept = []
    earlier.each { part ->
        if (part.files.every { name -> name in row_of } && !kept.any { other -> other.files.intersect(part.files) }) {
            kept << part
        }
    }
    def left = row_of.keySet() - kept.collectMany { part -> part.files }
    def first = (kept.collect { part -> part.number }.max() ?: 0) + 1
    def added = (files_per_task ? left.toList().collate(files_per_task) : left ? [left.toList()] : [])
        .withIndex(first).collect { names, number -> [number: number, files: names] }
    record.text = groovy.json.JsonOutput.toJson((earlier + added).unique())
    (kept + added).collect { part ->
        def files = part.files.collect { name -> row_of[name] }
        [files_per_task ? "_${part.number}".toString() : '', files.collect { row -> row[0] }, files.collect { row -> row[1] }]
    }
}

// What a task made beside the files that it got as 1/output_1.fa, 2/output_1.fa, ...: ['A', 1/output_1_DNABERT_S.pt], ...
def bySample(samples, paths) {
    paths.collect { path -> [samples[path.parent.name.toInteger() - 1], path] }
}
