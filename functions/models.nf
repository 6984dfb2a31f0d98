// The model set that --models names, and the fingerprints that keep -resume honest.

// [path: folder, window_length: bases, precision: what it may run in, score_all: whether the calibrated score decides,
//  notice: what must be known of it, fingerprint: changes with any file that is read for the set]
def findModels(models) {
    def bundled = file("${moduleDir}/../virnucpro/model_sets", glob: false)
    def store = file(System.getenv('VIRNUCPRO_MODELS') ?: "${System.getProperty('user.home')}/.cache/virnucpro/models", glob: false)
    def places = models.contains('/') || file(models, glob: false).isDirectory() ? [file(models, glob: false)]
        : [bundled.resolve(models), store.resolve(models)]
    def folder = places.find { place -> place.isDirectory() }
    if (!folder) {
        def names = bundled.listFiles().findAll { place -> place.isDirectory() }*.name.sort().join(', ')
        def known = readManifest(bundled.resolve('published.json')).keySet()
        def bring = models in known ? "bring it with: virnucpro models fetch ${models}"
            : "make it from the weights you have: virnucpro models create ${places.last()} --esm2 FILE --dnabert-s FOLDER --classifier FILE"
        error("--models ${models}: no such model set here; ${bring}; or give a bundled one (${names})")
    }
    def manifest = folder.resolve('manifest.json')
    if (!manifest.exists()) {
        error("--models ${models}: ${manifest} is missing, so this is no model set")
    }
    def facts = readManifest(manifest)
    if (!(facts instanceof Map && facts.window_length instanceof Integer)) {
        error("${manifest}: must be a JSON object with a whole number window_length; make the model set again")
    }
    def own = filesBelow(folder).collect { path -> "${folder.relativize(path)} ${path.size()} ${path.lastModified()}" }
    // A set without a composition model or a calibration is served by those of mini.
    def lent = [composition: 'composition.safetensors', calibration: 'calibration.json'].findAll { part, _name -> !facts[part] }
        .collect { _part, name -> bundled.resolve('mini').resolve(name) }.findAll { path -> path.exists() }
        .collect { path -> "${path.name} ${path.size()} ${path.lastModified()}" }
    [
        path: folder,
        window_length: facts.window_length,
        precision: facts.precision,
        score_all: facts.score_all == true,
        notice: facts.demonstration == true ? "${facts.name} is a demonstration: not the published VirNucPro, and not for findings"
            : facts.name in readManifest(bundled.resolve('published.json')).keySet() ? null : "${facts.name} is not one of the published model sets",
        fingerprint: digest([manifest.getText('UTF-8')] + own + lent),
    ]
}

def readManifest(manifest) {
    try {
        new groovy.json.JsonSlurper().parseText(manifest.getText('UTF-8'))
    }
    catch (groovy.json.JsonException _failure) {
        null
    }
}

// A digest of the code that the tasks run: an edited package must not be served from the cache,
// and Nextflow looks into neither the package nor a folder given as a path.
def codeDigest() {
    def root = file("${moduleDir}/..", glob: false)
    def code = ['virnucpro', 'bin'].collectMany { folder -> filesBelow(root.resolve(folder)) }
    digest(code.findAll { path -> path.name ==~ /.*\.(py|j2)/ }.collectMany { path -> [root.relativize(path), path.getText('UTF-8')] })
}

def filesBelow(folder) {
    java.nio.file.Files.walk(folder).toList().findAll { path -> path.isFile() }.sort()
}

def digest(texts) {
    texts.join('\n').sha256()
}
