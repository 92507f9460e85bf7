<?php
// What the node sees to, which the pages of the wiki cannot change.
$conf['savedir'] = '/data/wiki';
$conf['useacl'] = 1;
$conf['superuser'] = '@admin';
$conf['updatecheck'] = 0;
$conf['remote'] = 1;
$conf['remoteuser'] = '@user';
