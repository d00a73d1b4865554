# Puts the agent on a Windows host, or takes it away: the one PowerShell text of the project, kept tiny because nothing
# can execute it in our tests. Reads `put|remove SHA256 PATH` and, after it, base64 lines up to a line with a dot.
# C:\k8swin gets an access list of its own: what lies below C:\ can otherwise be written to by every user.
$ErrorActionPreference='Stop'
try{
$i=[Console]::In
$v,$s,$p=$i.ReadLine().Split([char[]]' ',3)
$d=[IO.Path]::GetDirectoryName($p)
$r=[IO.Path]::GetDirectoryName($d)
if($v -eq 'remove'){
[IO.File]::Delete($p)
foreach($x in $d,$r){if([IO.Directory]::Exists($x) -and -not [IO.Directory]::GetFileSystemEntries($x).Length){[IO.Directory]::Delete($x)}}
exit 0
}
if($v -ne 'put'){exit 64}
$a=New-Object Security.AccessControl.DirectorySecurity
$a.SetSecurityDescriptorSddlForm('D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
[void][IO.Directory]::CreateDirectory($r,$a)
[void][IO.Directory]::CreateDirectory($d)
$t="$p.$PID"
$f=[IO.File]::Create($t)
try{while(($l=$i.ReadLine()) -ne '.'){
if($null -eq $l){throw 'the upload ended early'}
$b=[Convert]::FromBase64String($l)
$f.Write($b,0,$b.Length)
}}finally{$f.Dispose()}
$f=[IO.File]::OpenRead($t)
try{$x=[BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($f)).Replace('-','').ToLower()}finally{$f.Dispose()}
if($x -ne $s){[IO.File]::Delete($t);[Console]::Error.WriteLine('sha256 of the upload differs');exit 65}
[IO.File]::Delete($p)
[IO.File]::Move($t,$p)
exit 0
}catch{[Console]::Error.WriteLine($_.Exception.Message);exit 1}
