# Puts the agent on a Windows host, or takes it away: the one PowerShell text of the project, kept tiny because nothing
# can execute it in our tests. Reads `put|remove SHA256 PATH` and, after it, base64 lines up to a line with a dot.
# By way of $input: powershell.exe itself reads standard input when it was given a command, so that a script that read
# [Console]::In would compete with it for the lines. No cmdlet is called: none can be missing, renamed or kept from loading.
# C:\k8swin gets an access list of its own: what lies below C:\ can otherwise be written to by every user.
$ErrorActionPreference='Stop'
$code=1
$part=$null
$file=$null
$made=@()
$end=$false
try{
[void]$input.MoveNext()
$verb,$sum,$path=([string]$input.Current).Split([char[]]' ',3)
$bin=[IO.Path]::GetDirectoryName($path)
$root=[IO.Path]::GetDirectoryName($bin)
if($verb -eq 'remove'){
[IO.File]::Delete($path)
$made=$bin,$root
$code=0
}elseif($verb -eq 'put'){
$acl=[Security.AccessControl.DirectorySecurity]::new()
$acl.SetSecurityDescriptorSddlForm('D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
$made=@(foreach($d in $bin,$root){if(![IO.Directory]::Exists($d)){$d}})
[void][IO.Directory]::CreateDirectory($root,$acl)
[void][IO.Directory]::CreateDirectory($bin)
$part="$path.$PID"
$file=[IO.File]::Create($part)
while($input.MoveNext()){
$line=[string]$input.Current
if($line -eq '.'){$end=$true;break}
$b=[Convert]::FromBase64String($line)
$file.Write($b,0,$b.Length)
}
if(!$end){throw 'the upload ended early'}
$file.Position=0
$found=[BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($file)).Replace('-','')
$file.Dispose()
if($found -ne $sum){$code=65;throw 'sha256 of the upload differs'}
[IO.File]::Delete($path)
[IO.File]::Move($part,$path)
$made=@()
$code=0
}else{$code=64}
}catch{
if($code -eq 0){$code=1}
[Console]::Error.WriteLine($_.Exception.Message)
}finally{
if($file){$file.Dispose()}
if($part){[IO.File]::Delete($part)}
foreach($d in $made){if([IO.Directory]::Exists($d) -and ![IO.Directory]::GetFileSystemEntries($d).Length){[IO.Directory]::Delete($d)}}
}
exit $code
