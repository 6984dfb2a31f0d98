// The output folder: held by one run at a time, and nothing in it replaced that is not ours.
// The rules, and what the lock and the marks say, are those of virnucpro/locks.py and virnucpro/pipeline/output.py.

// Takes the folder for this run and its samples; gives what is to be called at the end.
def holdOutdir(outdir, samples) {
    def folder = file(outdir, glob: false)
    if (folder.scheme != 'file') {
        return { -> }
    }
    def release = lock(folder.resolve('.virnucpro.lock'))
    def stranger = findStranger(folder, samples)
    if (stranger) {
        release.call()
        error("--outdir ${outdir}: ${stranger}; choose another folder")
    }
    samples.each { sample -> claim(folder.resolve(sample), sample) }
    return { ->
        samples.each { sample -> removeIfEmpty(folder.resolve(sample)) }
        release.call()
    }
}

// What this run would replace, or write through, and why it must not; null when there is nothing.
def findStranger(folder, samples) {
    // What is said about the run, where, and what shows that such a file is ours.
    def about = [
        'report.html': '<meta name="generator" content="virnucpro',
        'summary.tsv': 'sample\tstatus\treason',
        'pipeline_info/run_info.json': '"virnucpro":',
        'pipeline_info/versions.yml': '{virnucpro:'
    ].collectEntries { name, sign -> [folder.resolve(name), sign] }
    def folders = samples.collect { sample -> folder.resolve(sample) }
    def below = folders.findAll { path -> path.isDirectory() && !path.isLink() }.collectMany { path -> everythingIn(path) }
    def link = ([folder.resolve('pipeline_info')] + about.keySet() + folders + below).find { path -> path.isLink() }
    if (link) {
        return "${link} is a link, and may lead out of it"
    }
    def unmarked = folders.find { path -> path.exists() && !(path.isDirectory() && (path.list().size() == 0 || mark(path).sample == path.name)) }
    def replaced = unmarked ?: about.find { path, sign -> path.exists() && !(path.isFile() && path.text.contains(sign)) }?.key
    if (replaced) {
        return "${replaced} is not virnucpro's, and would be replaced"
    }
    def others = folder.listFiles().findAll { path -> path.isDirectory() && mark(path).sample && !(path.name in samples) }*.name.sort()
    others ? "holds results of samples that are not in this run (${others.take(3).join(', ')}), which its report would leave out" : null
}

def everythingIn(folder) {
    java.nio.file.Files.walk(folder).toList()
}

// What the mark of a result says, such as [virnucpro: 'results', sample: 'demo']; [:] for a folder without one.
def mark(folder) {
    def said = readObject(folder.resolve('.virnucpro'))
    said.virnucpro == 'results' ? said : [:]
}

def claim(folder, sample) {
    folder.mkdirs()
    if (!folder.resolve('.virnucpro').exists()) {
        folder.resolve('.virnucpro').text = groovy.json.JsonOutput.toJson([virnucpro: 'results', sample: sample]) + '\n'
    }
}

// A sample that failed leaves no folder behind.
def removeIfEmpty(folder) {
    if (folder.list().toList() == ['.virnucpro']) {
        folder.resolve('.virnucpro').delete()
        folder.delete()
    }
}

// Holds a lock file, or stops the run with one line that says who does; gives what lets it go.
def lock(path) {
    if (path.isLink()) {
        error("${path} is a link, where a lock file is wanted; remove it")
    }
    def channel = new java.io.RandomAccessFile(path.toFile(), 'rw').channel
    def owner = readObject(path)
    if (!tryLock(channel) || isAlive(owner)) {
        channel.close()
        def who = owner ? " (process ${owner.pid} on ${owner.host.tokenize(' ')[0]}, since ${owner.since})" : ''
        def advice = owner && owner.host != thisHost() ? "if it is gone, remove ${path}" : 'wait for it to end, or stop it'
        error("${path.parent}: another run is at work here${who}; ${advice}")
    }
    def pid = ProcessHandle.current().pid()
    def now = new Date().format('yyyy-MM-dd HH:mm:ss')
    def said = groovy.json.JsonOutput.toJson([host: thisHost(), pid: pid, started: startOf(pid), since: now, flock: false])
    // Through this channel: closing another one of the same file would let the lock go.
    channel.truncate(0)
    channel.write(java.nio.ByteBuffer.wrap("${said}\n".getBytes('UTF-8')))
    return { ->
        path.delete()
        channel.close()
    }
}

// Whether nobody else in Java's way of locking holds it; where the file system has no locks, the owner alone decides.
def tryLock(channel) {
    try {
        channel.tryLock() != null
    }
    catch (java.nio.channels.OverlappingFileLockException _ours) {
        false
    }
    catch (java.io.IOException _no_locks) {
        true
    }
}

def isAlive(owner) {
    owner && (owner.host != thisHost() || owner.started == startOf(owner.pid))
}

def thisHost() {
    def processes = java.nio.file.Path.of('/proc/self/ns/pid')
    def name = java.nio.file.Path.of('/proc/sys/kernel/hostname')
    java.nio.file.Files.exists(processes) ? "${name.text.trim()} ${java.nio.file.Files.readSymbolicLink(processes)}".toString()
        : java.net.InetAddress.localHost.hostName
}

// When a process began, in ticks since boot; empty when there is none, or none but a zombie.
def startOf(pid) {
    def stat = java.nio.file.Path.of("/proc/${pid}/stat")
    def fields = java.nio.file.Files.exists(stat) ? stat.text.tokenize(')')[-1].tokenize(' ') : ['Z']
    fields[0] in ['Z', 'X'] ? '' : fields[19]
}

def readObject(path) {
    try {
        def said = path.exists() ? new groovy.json.JsonSlurper().parseText(path.text) : [:]
        said instanceof Map ? said : [:]
    }
    catch (groovy.json.JsonException | IllegalArgumentException _damaged) {
        [:]
    }
}
